// The candidates for a convolution layer, and which is the fastest by estimate.
#pragma once

#include "cuda/algorithm.h"

namespace repvgg::cuda {

// Every candidate that is allowed and supports the layer on an architecture (90 for 9.0) that has the
// precision. Empty only on Volta, in fp16 with channels per group that are not multiples of 8, and in fp8
// where the layer does not fit Hopper's kernels.
std::vector<Candidate> ListCandidates(const Convolution& layer, Precision precision, int architecture,
                                      const AllowedAlgorithms& allowed);

// The candidates for the first two layers: one after the other, the second (`layer`, whose `stem` is set) by
// `second`; and the fused kernel, where it fits. Pinning kFused keeps only the latter, if it fits; pinning
// another algorithm drops it.
std::vector<Candidate> ListFirstTwo(const Convolution& layer, const Candidate& second, Precision precision,
                                    int architecture, std::optional<ConvolutionAlgorithm> pinned);

// The candidate of least estimated time on a GPU with `multiprocessors` multiprocessors: whole waves of
// tiles, and the values that a tile loads per product. No measurement.
const Candidate& EstimateBest(const std::vector<Candidate>& candidates, const Convolution& layer,
                              Precision precision, int multiprocessors);

}  // namespace repvgg::cuda
