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
  // As Pick has it, or "only" where there is no other algorithm, or "pinned" by BackendOptions::algorithm.
  const char* source = "only";
  std::vector<Timing> timings;
};

// What was measured with one instruction set, for all networks of the process.
struct SharedTimings;

// Chooses the algorithm of each block of a network.
class Chooser {
 public:
  // `wanted` is the algorithm wherever it can be used; empty measures. Reads the environment, which the
  // program may change on the thread that makes networks: so not later.
  Chooser(const KernelTable& kernels, std::string wanted);

  const std::string& wanted() const { return wanted_; }

  // For a block that reads maps of size `in` and writes `out`, `images` at a time: what is wanted, or the
  // fastest of those that can be used. That is measured on the calling thread, with the block's own weights,
  // once per machine and shape: networks of one process and, by a file, of later ones have the same answer.
  Choice Choose(const BlockShape& block, MapSize in, MapSize out, int images, Floats weight,
                Floats bias) const;

 private:
  const KernelTable& kernels_;
  SharedTimings& timings_;
  const std::string wanted_;
};

}  // namespace repvgg::cpu
