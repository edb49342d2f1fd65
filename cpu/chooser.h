#pragma once

#include <string>
#include <vector>

#include "cpu/fp32_convolution.h"
#include "engine/timings.h"

namespace repvgg::cpu {

// "direct", "f2", "f4x2" or "f4", as BackendOptions::algorithm has them.
const char* AlgorithmName(Algorithm algorithm);

struct Choice {
  Algorithm algorithm = Algorithm::kDirect;
  // As in Pick, or "only" where there is no other algorithm, or "pinned" by BackendOptions::algorithm or
  // winograd.
  const char* source = "only";
  std::vector<Timing> timings;
};

// The timings for one instruction set, shared by all networks of the process.
struct SharedTimings;

// Chooses the algorithm of each block of a network.
class Chooser {
 public:
  // `wanted` names the algorithm to use wherever applicable; empty chooses by measurement. Reads the
  // environment here, since only this thread is known not to change it meanwhile.
  Chooser(const KernelTable& kernels, std::string wanted);

  const std::string& wanted() const { return wanted_; }

  // The algorithm for a block that reads maps of size `in` and writes maps of size `out`, `images` at a time.
  // Candidates are timed on the calling thread, with the block's own weights, once per machine and shape:
  // other networks of this process and, through a file, of later ones get the same answer.
  Choice Choose(const BlockShape& block, MapSize in, MapSize out, int images, Floats weight,
                Floats bias) const;

 private:
  const KernelTable& kernels_;
  SharedTimings& timings_;
  const std::string wanted_;
};

}  // namespace repvgg::cpu
