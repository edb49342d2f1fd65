#pragma once

#include <cstdint>

namespace repvgg {

// The `k` largest of `count` logits in descending order, with their softmax probabilities over all of them.
// This is the order on every device: of equal values the lower index comes first, zeros of both signs are
// equal, and NaN comes last. Scores are NaN if any of the logits is NaN, or the largest infinite.
void SoftmaxTopK(const float* logits, int count, int k, int32_t* indices, float* scores);

}  // namespace repvgg
