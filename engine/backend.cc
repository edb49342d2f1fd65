#include "engine/backend.h"

#include <chrono>
#include <vector>

namespace repvgg {

double Network::MeasureRate(const ImageBatch& batch, double seconds, const Cancelled& cancelled) {
  using Clock = std::chrono::steady_clock;
  const bool logits = shape_.num_classes > 0;
  const size_t values = logits ? shape_.num_classes : shape_.embedding_channels();
  std::vector<float> out(values * batch.count);
  const Clock::time_point start = Clock::now();
  for (double images = batch.count;; images += batch.count) {
    Run(batch, logits ? Output::kLogits : Output::kEmbedding, out.data(), cancelled,
        [](std::exception_ptr) {});
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    if (elapsed.count() >= seconds) return images / elapsed.count();
  }
}

}  // namespace repvgg
