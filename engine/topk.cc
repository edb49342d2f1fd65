#include "engine/topk.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace repvgg {

void SoftmaxTopK(const float* logits, int count, int k, int32_t* indices, float* scores) {
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  // NaN sorts last: a comparison that is false both ways would break the order.
  const auto before = [logits](int32_t a, int32_t b) {
    if (std::isnan(logits[a]) != std::isnan(logits[b])) return std::isnan(logits[b]);
    return logits[a] > logits[b] || (!(logits[a] < logits[b]) && a < b);
  };
  std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
  const double largest = logits[order[0]];
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += std::exp(logits[i] - largest);
  for (int i = 0; i < k; ++i) {
    indices[i] = order[i];
    scores[i] = static_cast<float>(std::exp(logits[order[i]] - largest) / sum);
  }
}

}  // namespace repvgg
