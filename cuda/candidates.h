// Which ways there are to compute a convolution layer, and which is the fastest by estimate.
#pragma once

#include "cuda/algorithm.h"

namespace repvgg::cuda {

// Which of Winograd's algorithms may be chosen, by their errors (docs/kernels.md): kAuto is all in fp32,
// F(2x2) only in 16-bit precisions.
enum class WinogradClass { kAuto, kOff, kF2, kF4 };
// "auto", "off", "f2", "f4"; kAuto for anything else.
WinogradClass ToWinogradClass(const std::string& name);

// Every candidate that can do the layer on an architecture (90 for 9.0) that has the precision. None only on
// Volta, in fp16 where the channels of a group are not multiples of 8.
// `algorithm` ("direct", "f2", "f4") leaves only that one's, as long as it has any, whatever `winograd` says.
std::vector<Candidate> ListCandidates(const Convolution& layer, Precision precision, int architecture,
                                      const std::string& algorithm,
                                      WinogradClass winograd = WinogradClass::kAuto);

// The ways to compute the first two layers: one after the other, the second (`layer`, whose `stem` is set) by
// `second`; and, where one kernel can do both, that. `algorithm` ("fused") leaves only the latter, as long as
// there is one; any other leaves it out.
std::vector<Candidate> ListFirstTwo(const Convolution& layer, const Candidate& second, Precision precision,
                                    int architecture, const std::string& algorithm);

// The candidate of least estimated time on a GPU of so many multiprocessors: whole waves of tiles, the values
// that a tile loads for each of its products, and no measurement.
const Candidate& EstimateBest(const std::vector<Candidate>& candidates, const Convolution& layer,
                              Precision precision, int multiprocessors);

}  // namespace repvgg::cuda
