#include "engine/backend.h"

#include <chrono>
#include <vector>

namespace repvgg {

double Network::MeasureRate(const ImageBatch& batch, double seconds, const Cancelled& cancelled) {
  using Clock = std::chrono::steady_clock;
  Results results;
  results.output = shape_.num_classes > 0 ? Output::kLogits : Output::kEmbedding;
  std::vector<float> values(results.Count(shape_, batch.count));
  results.values = values.data();
  const Clock::time_point start = Clock::now();
  for (double images = batch.count;; images += batch.count) {
    Run(batch, results, cancelled, [](std::exception_ptr) {});
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    if (elapsed.count() >= seconds) return images / elapsed.count();
  }
}

}  // namespace repvgg
