#pragma once

#include <memory>
#include <vector>

#include "cpu/fp32_convolution.h"
#include "cpu/fp32_winograd.h"
#include "engine/algorithms.h"
#include "engine/timings.h"

namespace repvgg::cpu {

struct Choice {
  ConvolutionAlgorithm algorithm = ConvolutionAlgorithm::kDirect;
  // As in Pick, or "only" where no other algorithm is possible or allowed, or "pinned" by
  // BackendOptions::algorithm.
  const char* source = "only";
  std::vector<Timing> timings;
};

// The 3x3 convolution of a block whose output maps are `width` wide. `weight` is [out_channels][in_channels /
// groups][3][3]; an empty bias means zeros. `scratch` must outlive it.
std::unique_ptr<Fp32Convolution> MakeConvolution(const KernelTable& kernels, const BlockShape& block,
                                                 int width, ConvolutionAlgorithm algorithm, Floats weight,
                                                 Floats bias, Scratch& scratch);

// The timings for one instruction set, shared by all networks of the process.
struct SharedTimings;

// Chooses the algorithm of each block of a network.
class Chooser {
 public:
  // Reads the environment here, since only this thread is known not to change it meanwhile.
  Chooser(const KernelTable& kernels, const AllowedAlgorithms& allowed);

  // Whether every block gets direct convolution.
  bool direct_only() const;

  // The algorithm for a block that reads maps of size `in` and writes maps of size `out`, `images` at a time.
  // Candidates are timed on the calling thread, with the block's own weights, once per machine and shape:
  // other networks of this process and, through a file, of later ones get the same answer.
  Choice Choose(const BlockShape& block, MapSize in, MapSize out, int images, Floats weight,
                Floats bias) const;

 private:
  const KernelTable& kernels_;
  SharedTimings& timings_;
  const AllowedAlgorithms allowed_;
  std::vector<ConvolutionAlgorithm> candidates_;  // Of a block that supports all algorithms.
};

}  // namespace repvgg::cpu
