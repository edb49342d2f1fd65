#include "cpu/cpu_network.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/bf16_maps.h"
#include "cpu/maps.h"
#include "engine/error.h"
#include "engine/topk.h"

namespace repvgg::cpu {
namespace {

// The first block whose weights outnumber the elements of one image's input map.
size_t FirstLateBlock(const NetworkShape& shape, const MemoryPlan& plan) {
  size_t index = 0;
  for (; index < shape.blocks.size(); ++index) {
    const BlockShape& block = shape.blocks[index];
    if (size_t{9} * block.in_channels / block.groups * block.out_channels > plan.elements[index]) break;
  }
  return index;
}

}  // namespace

template <class Maps>
CpuNetwork<Maps>::CpuNetwork(NetworkShape network, const KernelTable& kernels,
                             std::shared_ptr<ThreadPool> pool, BackendOptions options, MemoryPlan plan)
    : Network(std::move(network)),
      kernels_(kernels),
      pool_(std::move(pool)),
      options_(std::move(options)),
      plan_(std::move(plan)),
      first_late_block_(FirstLateBlock(shape(), plan_)),
      images_together_(std::clamp(options_.batch_size, 1, std::max(kMostImagesTogether, pool_->threads()))),
      images_early_(std::min(pool_->threads(), images_together_)),
      choices_(shape().blocks.size()),
      records_(shape().blocks.size()) {}

// In the first run, not in the constructor: clearing hundreds of megabytes would block the thread that
// creates the network.
template <class Maps>
void CpuNetwork<Maps>::AllocateMaps() {
  if (allocated_) return;
  const auto early = plan_.PingPong(0, first_late_block_);
  const auto late = plan_.PingPong(first_late_block_, shape().blocks.size());
  for (int i = 0; i < 2; ++i) {
    early_[i] = HugeArray<Value>(early[i] * images_early_ + Maps::kReadAhead);
    late_[i] = HugeArray<Value>(late[i] * images_together_ + Maps::kReadAhead);
  }
  allocated_ = true;
}

template <class Maps>
typename CpuNetwork<Maps>::Gate CpuNetwork<Maps>::CopyGate(const SqueezeExcite& from) {
  const auto copy = [](Floats values) { return std::vector<float>(values.begin(), values.end()); };
  return {copy(from.down_weight), copy(from.down_bias), copy(from.up_weight), copy(from.up_bias)};
}

template <class Maps>
void CpuNetwork<Maps>::SetLinear(const Linear& linear) {
  linear_weight_.assign(linear.weight.begin(), linear.weight.end());
  linear_bias_.assign(linear.bias.begin(), linear.bias.end());
}

template <class Maps>
void CpuNetwork<Maps>::Run(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
                           const Done& done) {
  const bool measuring = results.output == Output::kRanges, ranking = results.output == Output::kTopK;
  const bool classifying = ranking || results.output == Output::kLogits;
  if (measuring && options_.precision != Precision::kFp32) {
    throw Error("ERR_PRECISION_UNSUPPORTED", "Ranges of values are measured in fp32 only.");
  }
  AllocateMaps();
  ranges_ = measuring ? results.values : nullptr;
  if (measuring) std::fill_n(ranges_, shape().total_channels(), 0.0f);
  const size_t image_size = static_cast<size_t>(shape().height) * shape().width * 3;
  const size_t channels = shape().embedding_channels();
  const size_t classes = shape().num_classes;
  std::vector<float> pooled(classifying ? batch.count * channels : 0);
  std::vector<float> unranked(ranking ? batch.count * classes : 0);
  float* const embeddings = classifying ? pooled.data() : results.values;
  float* const logits = ranking ? unranked.data() : results.values;
  for (int first = 0; first < batch.count; first += images_together_) {
    const int images = std::min(images_together_, batch.count - first);
    const Maps last = RunImages({batch.pixels + first * image_size, images}, cancelled);
    if (measuring) continue;
    pool_->Run(images, [&](const ThreadPool::Share& share) {
      for (size_t i = share.begin; i < share.end; ++i)
        PoolImage(last, i, embeddings + (first + i) * channels);
    });
  }
  if (!classifying) return done(nullptr);
  pool_->Run(classes, [&](const ThreadPool::Share& share) {
    // Images in the inner loop: each row of weights is read from memory once for all of them.
    constexpr size_t kRows = 4;
    for (size_t row = share.begin; row < share.end; row += kRows) {
      const int rows = static_cast<int>(std::min(kRows, share.end - row));
      for (int image = 0; image < batch.count; ++image) {
        kernels_.matrix_vector(&linear_weight_[row * channels], &linear_bias_[row],
                               embeddings + image * channels, rows, channels, logits + image * classes + row);
      }
    }
  });
  for (int image = 0; ranking && image < batch.count; ++image) {
    const size_t at = results.Count(shape(), image);
    SoftmaxTopK(logits + image * classes, shape().num_classes, results.k, results.indices + at,
                results.values + at);
  }
  done(nullptr);
}

template <class Maps>
std::string CpuNetwork<Maps>::Describe() const {
  std::string text = "{\"batchSize\": " + std::to_string(images_together_) + ", \"layers\": [";
  for (size_t i = 0; i < records_.size(); ++i) {
    const Choice& choice = choices_[i];
    const auto& [time, images] = records_[i];
    const std::chrono::duration<double, std::micro> microseconds = time;
    text +=
        std::string(i == 0 ? "\n" : ",\n") + "{\"algorithm\": \"" + AlgorithmName(choice.algorithm) +
        "\", \"source\": \"" + choice.source + "\", \"microseconds\": " + ToJson(choice.timings) +
        ", \"imageMicroseconds\": " + (images == 0 ? "null" : std::to_string(microseconds.count() / images)) +
        "}";
  }
  return text + "\n]}";
}

template <class Maps>
Maps CpuNetwork<Maps>::RunImages(const ImageBatch& batch, const Cancelled& cancelled) {
  const size_t image_size = static_cast<size_t>(shape().height) * shape().width * 3;
  for (int first = 0; first < batch.count; first += images_early_) {
    const int images = std::min(images_early_, batch.count - first);
    ReadPixels({batch.pixels + first * image_size, images}, MapsAt(0, early_[0].data()));
    const Maps out = RunBlocks(0, first_late_block_, early_, images, cancelled);
    std::memcpy(MapsAt(first_late_block_, late_[0].data()).image(first).data, out.data,
                images * out.image_stride() * sizeof(Value));
  }
  return RunBlocks(first_late_block_, shape().blocks.size(), late_, batch.count, cancelled);
}

template <class Maps>
Maps CpuNetwork<Maps>::RunBlocks(size_t first, size_t last, HugeArray<Value> (&buffers)[2], int images,
                                 const Cancelled& cancelled) {
  Maps in = MapsAt(first, buffers[0].data());
  for (size_t i = first; i < last; ++i) {
    if (cancelled()) throw Error(kAborted, "The run was aborted.");
    const Maps out = MapsAt(i + 1, buffers[(i - first + 1) % 2].data());
    const auto start = std::chrono::steady_clock::now();
    RunBlock(i, images, in, out);
    records_[i].time += std::chrono::steady_clock::now() - start;
    records_[i].images += images;
    in = out;
  }
  return in;
}

template <class Maps>
void CpuNetwork<Maps>::SqueezeAndExcite(const Gate& gate, int images, const Maps& maps, bool relu) {
  const size_t channels = gate.up_bias.size(), squeezed = gate.down_bias.size();
  pool_->Run(images, [&](const ThreadPool::Share& share) {
    std::vector<float> mean(channels), hidden(squeezed), weight(channels);
    for (size_t image = share.begin; image < share.end; ++image) {
      PoolImage(maps, image, mean.data());
      kernels_.matrix_vector(gate.down_weight.data(), gate.down_bias.data(), mean.data(), squeezed, channels,
                             hidden.data());
      for (float& value : hidden) value = value < 0 ? 0 : value;
      kernels_.matrix_vector(gate.up_weight.data(), gate.up_bias.data(), hidden.data(), channels, squeezed,
                             weight.data());
      for (float& value : weight) value = 1.0f / (1.0f + std::exp(-value));
      GateImage(maps, image, weight.data(), relu);
    }
  });
}

template class CpuNetwork<Fp32Maps>;
template class CpuNetwork<Bf16Maps>;

}  // namespace repvgg::cpu
