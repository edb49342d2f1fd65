#pragma once

#include <string>
#include <vector>

#include "cpu/fp32_convolution.h"
#include "engine/timings.h"

namespace repvgg::cpu {

// "direct", "f2", "f4x2" or "f4", as BackendOptions::algorithm has them.
const char* AlgorithmName(Algorithm algorithm);

struct AlgorithmChoice {
  Algorithm algorithm = Algorithm::kDirect;
  // As Pick has it, or "only" where there is no other algorithm, or "pinned" by BackendOptions::algorithm.
  const char* source = "only";
  std::vector<Timing> timings;
};

// The algorithm for a block that reads maps of size `in` and writes `out`, `images` at a time: pinned by
// `wanted`, or the fastest of those that can be used. That is measured on the calling thread, with the
// block's own weights, once per machine and shape: networks of one process and, by a file, of later ones have
// the same answer.
AlgorithmChoice ChooseAlgorithm(const KernelTable& kernels, const BlockShape& block, MapSize in, MapSize out,
                                int images, const std::string& wanted, Floats weight, Floats bias);

}  // namespace repvgg::cpu
