// The candidates for a convolution layer, and which is the fastest by estimate.
#pragma once

#include "cuda/algorithm.h"

namespace repvgg::cuda {

// Which Winograd algorithms may be chosen, by their error (docs/kernels.md). kAuto: all in fp32, F(2x2) only
// in 16-bit precisions.
enum class WinogradClass { kAuto, kOff, kF2, kF4 };
// "auto", "off", "f2", "f4"; kAuto for anything else.
WinogradClass ToWinogradClass(const std::string& name);

// Every candidate that supports the layer on an architecture (90 for 9.0) that has the precision. Empty only
// on Volta, in fp16 with channels per group that are not multiples of 8, and in fp8 where the layer does not
// fit Hopper's kernels. `algorithm` ("direct", "f2", "f4") keeps only that algorithm's, if there are any,
// whatever `winograd` says.
std::vector<Candidate> ListCandidates(const Convolution& layer, Precision precision, int architecture,
                                      const std::string& algorithm,
                                      WinogradClass winograd = WinogradClass::kAuto);

// The candidates for the first two layers: one after the other, the second (`layer`, whose `stem` is set) by
// `second`; and the fused kernel, where it fits. `algorithm` ("fused") keeps only the latter, if it fits; any
// other name drops it.
std::vector<Candidate> ListFirstTwo(const Convolution& layer, const Candidate& second, Precision precision,
                                    int architecture, const std::string& algorithm);

// The candidate of least estimated time on a GPU with `multiprocessors` multiprocessors: whole waves of
// tiles, and the values that a tile loads per product. No measurement.
const Candidate& EstimateBest(const std::vector<Candidate>& candidates, const Convolution& layer,
                              Precision precision, int multiprocessors);

}  // namespace repvgg::cuda
