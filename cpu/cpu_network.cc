#include "cpu/cpu_network.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>

#include "cpu/bf16_convolution.h"
#include "cpu/bf16_input.h"
#include "cpu/fp32_convolution.h"
#include "cpu/fp8_simulation.h"
#include "engine/error.h"

namespace repvgg::cpu {
namespace {

// Images that pass the last blocks together, at most. From 8 on, reading a weight costs little beside using
// it.
constexpr int kMostImagesTogether = 8;

// The first block whose weights are more than the map of an image that it reads.
size_t FirstLateBlock(const NetworkShape& shape, const MemoryPlan& plan) {
  size_t index = 0;
  for (; index < shape.blocks.size(); ++index) {
    const BlockShape& block = shape.blocks[index];
    if (size_t{9} * block.in_channels / block.groups * block.out_channels > plan.elements[index]) break;
  }
  return index;
}

}  // namespace

template <class T>
CpuNetwork<T>::CpuNetwork(NetworkShape network, const KernelTable& kernels, const Bf16Kernels* bf16,
                          std::shared_ptr<ThreadPool> pool, BackendOptions options)
    : Network(std::move(network)),
      kernels_(kernels),
      bf16_(bf16),
      pool_(std::move(pool)),
      options_(std::move(options)),
      plan_(PlanMemory(shape(), 1)),
      first_late_block_(FirstLateBlock(shape(), plan_)),
      images_early_(pool_->threads()),
      images_together_(std::clamp(options_.batch_size, 1, std::max(kMostImagesTogether, images_early_))),
      blocks_(shape().blocks.size()),
      records_(blocks_.size()),
      scratch_(pool_->threads()) {
  images_early_ = std::min(images_early_, images_together_);
}

// At the first run, not in the constructor: clearing hundreds of megabytes would hold the thread that made
// the network.
template <class T>
void CpuNetwork<T>::AllocateMaps() {
  if (allocated_) return;
  const auto early = plan_.PingPong(0, first_late_block_);
  const auto late = plan_.PingPong(first_late_block_, blocks_.size());
  size_t branch = 0;
  for (size_t i = 0; i < blocks_.size() && shape().form == Form::kTrain; ++i) {
    const int images = i < first_late_block_ ? images_early_ : images_together_;
    branch = std::max(branch, plan_.elements[i + 1] * images);
  }
  for (int i = 0; i < 2; ++i) {
    early_[i] = HugeArray<T>(early[i] * images_early_ + kReadAhead);
    late_[i] = HugeArray<T>(late[i] * images_together_ + kReadAhead);
    branches_[i] = HugeArray<T>(branch);
  }
  allocated_ = true;
}

template <class T>
typename CpuNetwork<T>::Affine CpuNetwork<T>::MakeAffine(const BatchNorm& batch_norm) {
  Affine affine;
  for (size_t c = 0; c < batch_norm.gamma.size(); ++c) {
    const double scale = batch_norm.gamma[c] / std::sqrt(batch_norm.variance[c] + batch_norm.eps);
    affine.scale.push_back(static_cast<float>(scale));
    affine.shift.push_back(static_cast<float>(batch_norm.beta[c] - batch_norm.mean[c] * scale));
  }
  return affine;
}

template <class T>
typename CpuNetwork<T>::Gate CpuNetwork<T>::CopyGate(const SqueezeExcite& from) {
  const auto copy = [](Floats values) { return std::vector<float>(values.begin(), values.end()); };
  return {copy(from.down_weight), copy(from.down_bias), copy(from.up_weight), copy(from.up_bias)};
}

template <>
std::unique_ptr<ConvolutionLayer<float>> CpuNetwork<float>::MakeDense(size_t index, Floats weight,
                                                                      Floats bias) {
  // Not images_together_, which the number of threads can raise: results must not depend on it.
  const int together = std::clamp(options_.batch_size, 1, kMostImagesTogether);
  // Gates amplify rounding errors. With F(4x4) the logits of D2se (seeded weights, four photographs together)
  // are off by 1.6e-5 in relative L2, with direct convolution by 9.3e-6; PyTorch's own fp32 is off by 1.0e-5.
  const bool gated = shape().squeeze_excite != SqueezeExcitePosition::kNone;
  const std::string& winograd = options_.winograd;
  std::string wanted = options_.algorithm;
  if (wanted.empty() && winograd == "f2") wanted = "f2";
  if (wanted.empty() && (winograd == "off" || (gated && winograd != "f4"))) wanted = "direct";
  const BlockShape& block = shape().blocks[index];
  AlgorithmChoice& choice = records_[index].choice;
  choice = ChooseAlgorithm(kernels_, block, plan_.sizes[index], plan_.sizes[index + 1],
                           index < first_late_block_ ? 1 : together, wanted, weight, bias);
  return std::make_unique<Fp32ConvolutionLayer>(kernels_, block, plan_.sizes[index + 1].width, 9,
                                                choice.algorithm, weight, bias, scratch_);
}

template <>
std::unique_ptr<ConvolutionLayer<Bf16>> CpuNetwork<Bf16>::MakeDense(size_t index, Floats weight,
                                                                    Floats bias) {
  const BlockShape& block = shape().blocks[index];
  if (index > 0) return std::make_unique<Bf16ConvolutionLayer>(*bf16_, block, weight, bias);
  const FirstLayer first = FoldNormalization(shape(), weight, bias);
  return std::make_unique<Bf16ConvolutionLayer>(*bf16_, block, first.weight, first.bias);
}

template <>
const MapKernels<float>& CpuNetwork<float>::MapFunctions() const {
  return kernels_.maps;
}

template <>
const MapKernels<Bf16>& CpuNetwork<Bf16>::MapFunctions() const {
  return bf16_->maps;
}

template <class T>
void CpuNetwork<T>::SetBlock(size_t index, const DeployBlock& from) {
  if (options_.precision == "fp8" && from.scale.empty()) {
    return SetBlock(index, SimulateFp8(shape(), index, from).view());
  }
  blocks_[index].dense = MakeDense(index, from.weight, from.bias);
  blocks_[index].gate = CopyGate(from.squeeze_excite);
}

template <class T>
void CpuNetwork<T>::SetBlock(size_t index, const TrainBlock& from) {
  if constexpr (std::is_same_v<T, float>) {
    Block& block = blocks_[index];
    block.dense = MakeDense(index, from.dense.weight, from.dense.bias);
    block.pointwise = std::make_unique<Fp32ConvolutionLayer>(
        kernels_, shape().blocks[index], plan_.sizes[index + 1].width, 1, Algorithm::kDirect,
        from.pointwise.weight, from.pointwise.bias, scratch_);
    block.dense_affine = MakeAffine(from.dense.batch_norm);
    block.pointwise_affine = MakeAffine(from.pointwise.batch_norm);
    block.identity_affine = MakeAffine(from.identity);
    block.gate = CopyGate(from.squeeze_excite);
  }
}

template <class T>
void CpuNetwork<T>::SetLinear(const Linear& linear) {
  linear_weight_.assign(linear.weight.begin(), linear.weight.end());
  linear_bias_.assign(linear.bias.begin(), linear.bias.end());
}

template <class T>
void CpuNetwork<T>::Run(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled,
                        const Done& done) {
  if (output == Output::kRanges && options_.precision != "fp32") {
    throw Error("ERR_PRECISION_UNSUPPORTED", "Ranges of values are measured in fp32 only.");
  }
  AllocateMaps();
  ranges_ = output == Output::kRanges ? out : nullptr;
  if (ranges_ != nullptr) std::fill_n(out, shape().total_channels(), 0.0f);
  const size_t image_size = static_cast<size_t>(shape().height) * shape().width * 3;
  const size_t channels = shape().embedding_channels();
  const size_t classes = shape().num_classes;
  std::vector<float> pooled(output == Output::kLogits ? batch.count * channels : 0);
  float* embeddings = output == Output::kLogits ? pooled.data() : out;
  for (int first = 0; first < batch.count; first += images_together_) {
    const int images = std::min(images_together_, batch.count - first);
    const Maps<T> last = RunImages({batch.pixels + first * image_size, images}, cancelled);
    if (ranges_ != nullptr) continue;
    pool_->Run(images, [&](const ThreadPool::Share& share) {
      for (size_t i = share.begin; i < share.end; ++i)
        PoolImage(last, i, embeddings + (first + i) * channels);
    });
  }
  if (output != Output::kLogits) return done(nullptr);
  pool_->Run(classes, [&](const ThreadPool::Share& share) {
    // Images inside: a row of weights comes from memory once for all of them.
    for (size_t row = share.begin; row < share.end; ++row) {
      for (int image = 0; image < batch.count; ++image) {
        kernels_.matrix_vector(&linear_weight_[row * channels], &linear_bias_[row],
                               embeddings + image * channels, 1, channels, out + image * classes + row);
      }
    }
  });
  done(nullptr);
}

template <class T>
std::string CpuNetwork<T>::Describe() const {
  std::string text = "{\"batchSize\": " + std::to_string(images_together_) + ", \"layers\": [";
  for (size_t i = 0; i < records_.size(); ++i) {
    const auto& [choice, time, images] = records_[i];
    const std::chrono::duration<double, std::micro> microseconds = time;
    text +=
        std::string(i == 0 ? "\n" : ",\n") + "{\"algorithm\": \"" + AlgorithmName(choice.algorithm) +
        "\", \"source\": \"" + choice.source + "\", \"microseconds\": " + ToJson(choice.timings) +
        ", \"imageMicroseconds\": " + (images == 0 ? "null" : std::to_string(microseconds.count() / images)) +
        "}";
  }
  return text + "\n]}";
}

template <class T>
Maps<T> CpuNetwork<T>::RunImages(const ImageBatch& batch, const Cancelled& cancelled) {
  const size_t image_size = static_cast<size_t>(shape().height) * shape().width * 3;
  for (int first = 0; first < batch.count; first += images_early_) {
    const int images = std::min(images_early_, batch.count - first);
    const Maps<T> in = {early_[0].data(), plan_.sizes[0], 3};
    Normalize({batch.pixels + first * image_size, images}, in);
    const Maps<T> out = RunBlocks(0, first_late_block_, early_, images, cancelled);
    const Maps<T> collected = {late_[0].data(), out.size, out.channels};
    std::memcpy(collected.image(first).data, out.data, images * out.image_stride() * sizeof(T));
  }
  return RunBlocks(first_late_block_, blocks_.size(), late_, batch.count, cancelled);
}

template <class T>
Maps<T> CpuNetwork<T>::RunBlocks(size_t first, size_t last, HugeArray<T> (&buffers)[2], int images,
                                 const Cancelled& cancelled) {
  const int channels = first == 0 ? 3 : shape().blocks[first - 1].out_channels;
  Maps<T> in = {buffers[0].data(), plan_.sizes[first], channels};
  for (size_t i = first; i < last; ++i) {
    if (cancelled()) throw Error(kAborted, "The run was aborted.");
    const Maps<T> out = {buffers[(i - first + 1) % 2].data(), plan_.sizes[i + 1],
                         shape().blocks[i].out_channels};
    const auto start = std::chrono::steady_clock::now();
    RunBlock(i, images, in, out);
    records_[i].time += std::chrono::steady_clock::now() - start;
    records_[i].images += images;
    if constexpr (std::is_same_v<T, float>) {
      if (ranges_ != nullptr) NoteRanges(out, images, ranges_ + shape().first_channel(i));
      if (options_.precision == "fp8" && i + 1 < blocks_.size()) RoundMaps(*pool_, out, images);
    }
    in = out;
  }
  return in;
}

template <>
InputValues<float> CpuNetwork<float>::MakeInputValues() const {
  // Dividing by 255 and by the deviation in this order is what torchvision does.
  InputValues<float> values{};
  for (int c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) {
      values.of_level[c][v] = (static_cast<float>(v) / 255.0f - shape().mean[c]) / shape().stddev[c];
    }
  }
  return values;
}

template <>
InputValues<Bf16> CpuNetwork<Bf16>::MakeInputValues() const {
  return MakeBf16InputValues(shape());
}

template <class T>
void CpuNetwork<T>::Normalize(const ImageBatch& batch, const Maps<T>& out) {
  const InputValues<T> values = MakeInputValues();
  const size_t height = shape().height;
  const size_t width = shape().width;
  pool_->Run(batch.count * height, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i) {
      if (i % height == 0) SetBorder(out, i / height, values.border.data());
      const uint8_t* from = batch.pixels + i * width * 3;
      T* to = out.row(i / height, i % height);
      for (size_t x = 0; x < width; ++x) {
        for (int c = 0; c < 3; ++c) to[x * 3 + c] = values.of_level[c][from[x * 3 + c]];
      }
    }
  });
}

template <class T>
void CpuNetwork<T>::RunBlock(size_t index, int images, const Maps<T>& in, const Maps<T>& out) {
  const Block& block = blocks_[index];
  const SqueezeExcitePosition squeeze = shape().squeeze_excite;
  const bool relu = squeeze != SqueezeExcitePosition::kBeforeRelu;
  if (shape().form == Form::kTrain) {
    RunBranches(block, images, in, out, relu);
  } else {
    block.dense->Run(*pool_, scratch_, images, in, out, relu);
  }
  if (squeeze != SqueezeExcitePosition::kNone) SqueezeAndExcite(block.gate, images, out, !relu);
}

template <>
void CpuNetwork<Bf16>::RunBranches(const Block&, int, const Maps<Bf16>&, const Maps<Bf16>&, bool) {
  // The backend makes no such network.
}

template <>
void CpuNetwork<float>::RunBranches(const Block& block, int images, const Maps<float>& in,
                                    const Maps<float>& out, bool relu) {
  const Maps<float> dense = {branches_[0].data(), out.size, out.channels};
  const Maps<float> pointwise = {branches_[1].data(), out.size, out.channels};
  block.dense->Run(*pool_, scratch_, images, in, dense, false);
  block.pointwise->Run(*pool_, scratch_, images, in, pointwise, false);

  const float* scale[] = {block.dense_affine.scale.data(), block.pointwise_affine.scale.data(),
                          block.identity_affine.scale.data()};
  const float* shift[] = {block.dense_affine.shift.data(), block.pointwise_affine.shift.data(),
                          block.identity_affine.shift.data()};
  const int branches = block.identity_affine.scale.empty() ? 2 : 3;
  const size_t height = out.size.height;
  pool_->Run(images * height, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i) {
      const int image = i / height;
      const int y = i % height;
      if (y == 0) ZeroBorder(out, image);
      const float* rows[] = {dense.row(image, y), pointwise.row(image, y), in.row(image, y)};
      kernels_.sum_branches(rows, scale, shift, branches, out.channels, out.size.width, relu,
                            out.row(image, y));
    }
  });
}

template <class T>
void CpuNetwork<T>::SqueezeAndExcite(const Gate& gate, int images, const Maps<T>& maps, bool relu) {
  const int channels = maps.channels;
  const int squeezed = gate.down_bias.size();
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
      for (int y = 0; y < maps.size.height; ++y) {
        MapFunctions().gate(maps.row(image, y), weight.data(), channels, maps.size.width, relu);
      }
    }
  });
}

// Rows are summed in float, rows of sums in double: a 112 x 112 map loses no more than a 112-pixel row does.
template <class T>
void CpuNetwork<T>::PoolImage(const Maps<T>& maps, int image, float* mean) {
  std::vector<double> total(maps.channels);
  std::vector<float> row(maps.channels);
  for (int y = 0; y < maps.size.height; ++y) {
    std::fill(row.begin(), row.end(), 0.0f);
    MapFunctions().sum_pixels(maps.row(image, y), maps.channels, maps.size.width, row.data());
    for (int c = 0; c < maps.channels; ++c) total[c] += row[c];
  }
  const double pixels = static_cast<double>(maps.size.height) * maps.size.width;
  for (int c = 0; c < maps.channels; ++c) mean[c] = static_cast<float>(total[c] / pixels);
}

template class CpuNetwork<float>;
template class CpuNetwork<Bf16>;

}  // namespace repvgg::cpu
