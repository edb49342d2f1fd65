#pragma once

#include <cstdint>

namespace repvgg {

// The `k` largest of `count` logits in descending order, with their softmax probabilities. The order is the
// same on every device: of equal values the lower index comes first, +0 equals -0, and NaN comes last. All
// scores are NaN if any logit is NaN or the largest is infinite.
void SoftmaxTopK(const float* logits, int count, int k, int32_t* indices, float* scores);

}  // namespace repvgg
