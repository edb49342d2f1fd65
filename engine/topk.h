#pragma once

#include <cstdint>

namespace repvgg {

// The `k` largest of `count` logits in descending order (equal values: lower index first), with their softmax
// probabilities over all of them.
void SoftmaxTopK(const float* logits, int count, int k, int32_t* indices, float* scores);

}  // namespace repvgg
