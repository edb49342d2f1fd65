#include "cpu/cpu_network.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/error.h"

namespace repvgg::cpu {
namespace {

// Images that go through the network together: enough to use each weight several times while it is in cache,
// few enough that two maps of the first layers (2.4 MB an image in A0) stay in the last-level cache.
constexpr int kImagesAtOnce = 8;

void ZeroBorder(const Maps& maps, int image) {
  const size_t row = maps.row_stride();
  float* first = maps.row(image, -1) - maps.channels;
  std::memset(first, 0, row * sizeof(float));
  std::memset(maps.row(image, maps.size.height) - maps.channels, 0, row * sizeof(float));
  for (int y = 0; y < maps.size.height; ++y) {
    float* begin = maps.row(image, y) - maps.channels;
    std::memset(begin, 0, maps.channels * sizeof(float));
    std::memset(begin + row - maps.channels, 0, maps.channels * sizeof(float));
  }
}

}  // namespace

CpuNetwork::CpuNetwork(NetworkShape shape, const KernelTable& kernels, std::shared_ptr<ThreadPool> pool)
    : Network(std::move(shape)),
      kernels_(kernels),
      pool_(std::move(pool)),
      blocks_(this->shape().blocks.size()) {}

float* CpuNetwork::Buffer::Reserve(size_t elements) {
  if (elements > size) {
    data.reset();
    data.reset(new float[elements]);
    size = elements;
  }
  return data.get();
}

CpuNetwork::Affine CpuNetwork::MakeAffine(const BatchNorm& batch_norm) {
  Affine affine;
  for (size_t c = 0; c < batch_norm.gamma.size(); ++c) {
    const double scale = batch_norm.gamma[c] / std::sqrt(batch_norm.variance[c] + batch_norm.eps);
    affine.scale.push_back(static_cast<float>(scale));
    affine.shift.push_back(static_cast<float>(batch_norm.beta[c] - batch_norm.mean[c] * scale));
  }
  return affine;
}

CpuNetwork::Gate CpuNetwork::CopyGate(const SqueezeExcite& from) {
  const auto copy = [](Floats values) { return std::vector<float>(values.begin(), values.end()); };
  return {copy(from.down_weight), copy(from.down_bias), copy(from.up_weight), copy(from.up_bias)};
}

void CpuNetwork::SetBlock(size_t index, const DeployBlock& from) {
  const BlockShape& shape = this->shape().blocks[index];
  Block& block = blocks_[index];
  block.dense = Pack(from.weight.data(), from.bias.data(), 9, shape.in_channels, shape.out_channels,
                     shape.stride, shape.groups, kernels_.block_width);
  block.gate = CopyGate(from.squeeze_excite);
}

void CpuNetwork::SetBlock(size_t index, const TrainBlock& from) {
  const BlockShape& shape = this->shape().blocks[index];
  Block& block = blocks_[index];
  const auto pack = [&](const TrainBranch& branch, int taps) {
    return Pack(branch.weight.data(), branch.bias.data(), taps, shape.in_channels, shape.out_channels,
                shape.stride, shape.groups, kernels_.block_width);
  };
  block.dense = pack(from.dense, 9);
  block.pointwise = pack(from.pointwise, 1);
  block.dense_affine = MakeAffine(from.dense.batch_norm);
  block.pointwise_affine = MakeAffine(from.pointwise.batch_norm);
  block.identity_affine = MakeAffine(from.identity);
  block.gate = CopyGate(from.squeeze_excite);
}

void CpuNetwork::SetLinear(const Linear& linear) {
  linear_weight_.assign(linear.weight.begin(), linear.weight.end());
  linear_bias_.assign(linear.bias.begin(), linear.bias.end());
}

void CpuNetwork::Run(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled) {
  const int per_image = output == Output::kLogits ? shape().num_classes : shape().embedding_channels();
  for (int first = 0; first < batch.count; first += kImagesAtOnce) {
    ImageBatch part = batch;
    part.count = std::min(kImagesAtOnce, batch.count - first);
    part.pixels += static_cast<size_t>(first) * batch.height * batch.width * 3;
    RunImages(part, output, out + static_cast<size_t>(first) * per_image, cancelled);
  }
}

void CpuNetwork::RunImages(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled) {
  const MemoryPlan plan = PlanMemory(shape(), {batch.height, batch.width}, 1);
  float* buffers[2];
  for (int i = 0; i < 2; ++i) buffers[i] = activations_[i].Reserve(plan.elements[i] * batch.count);
  for (Buffer& branch : branches_) branch.Reserve(plan.branch_elements * batch.count);

  Maps in = {buffers[0], plan.sizes[0], shape().blocks[0].in_channels};
  Normalize(batch, in);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (cancelled()) throw Error(kAborted, "The run was aborted.");
    const Maps next = {buffers[(i + 1) % 2], plan.sizes[i + 1], shape().blocks[i].out_channels};
    RunBlock(i, batch.count, in, next);
    in = next;
  }

  const int channels = shape().embedding_channels();
  std::vector<float> pooled;
  float* embeddings = out;
  if (output == Output::kLogits) {
    pooled.resize(static_cast<size_t>(batch.count) * channels);
    embeddings = pooled.data();
  }
  pool_->Run(batch.count, [&](size_t begin, size_t end) {
    for (size_t image = begin; image < end; ++image) PoolImage(in, image, embeddings + image * channels);
  });
  if (output == Output::kEmbedding) return;
  const size_t classes = shape().num_classes;
  pool_->Run(classes, [&](size_t begin, size_t end) {
    for (int image = 0; image < batch.count; ++image) {
      kernels_.matrix_vector(&linear_weight_[begin * channels], &linear_bias_[begin],
                             embeddings + static_cast<size_t>(image) * channels, end - begin, channels,
                             out + image * classes + begin);
    }
  });
}

void CpuNetwork::Normalize(const ImageBatch& batch, const Maps& out) {
  const auto& [mean, stddev] = std::pair(shape().mean, shape().stddev);
  // One table per channel: dividing by 255 and by the deviation in this order is what torchvision does.
  std::array<std::array<float, 256>, 3> table;
  for (int c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) table[c][v] = (static_cast<float>(v) / 255.0f - mean[c]) / stddev[c];
  }
  pool_->Run(static_cast<size_t>(batch.count) * batch.height, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const int image = i / batch.height;
      const int y = i % batch.height;
      if (y == 0) ZeroBorder(out, image);
      const uint8_t* from = batch.pixels + i * batch.width * 3;
      float* to = out.row(image, y);
      for (int x = 0; x < batch.width; ++x) {
        for (int c = 0; c < 3; ++c) to[x * 3 + c] = table[c][from[x * 3 + c]];
      }
    }
  });
}

void CpuNetwork::RunBlock(size_t index, int images, const Maps& in, const Maps& out) {
  const Block& block = blocks_[index];
  const SqueezeExcitePosition squeeze = shape().squeeze_excite;
  const bool relu = squeeze != SqueezeExcitePosition::kBeforeRelu;
  if (shape().form == Form::kDeploy) {
    Convolve(block.dense, images, in, out, relu);
  } else {
    const Maps dense = {branches_[0].data.get(), out.size, out.channels};
    const Maps pointwise = {branches_[1].data.get(), out.size, out.channels};
    Convolve(block.dense, images, in, dense, false);
    Convolve(block.pointwise, images, in, pointwise, false);
    SumBranches(block, images, in, dense, pointwise, out, relu);
  }
  if (squeeze != SqueezeExcitePosition::kNone) SqueezeAndExcite(block.gate, images, out, !relu);
}

void CpuNetwork::Convolve(const PackedConvolution& convolution, int images, const Maps& in, const Maps& out,
                          bool relu) {
  const size_t height = out.size.height;
  pool_->Run(images * height, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      if (i % height == 0) ZeroBorder(out, i / height);
    }
    // Blocks outside, rows inside: a block's weights are read from memory once and serve every row of this
    // share.
    for (int group = 0; group < convolution.groups; ++group) {
      for (int block = 0; block < convolution.blocks; ++block) {
        for (size_t i = begin; i < end; ++i) {
          const int image = i / height;
          const ConvolutionImage maps = {in.row(image, 0), in.row_stride(), out.row(image, 0),
                                         out.row_stride(), out.size.width};
          kernels_.convolve_row(convolution, maps, i % height, group, block, relu);
        }
      }
    }
  });
}

void CpuNetwork::SumBranches(const Block& block, int images, const Maps& in, const Maps& dense,
                             const Maps& pointwise, const Maps& out, bool relu) {
  const float* scale[] = {block.dense_affine.scale.data(), block.pointwise_affine.scale.data(),
                          block.identity_affine.scale.data()};
  const float* shift[] = {block.dense_affine.shift.data(), block.pointwise_affine.shift.data(),
                          block.identity_affine.shift.data()};
  const int branches = block.identity_affine.scale.empty() ? 2 : 3;
  const size_t height = out.size.height;
  pool_->Run(images * height, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const int image = i / height;
      const int y = i % height;
      if (y == 0) ZeroBorder(out, image);
      const float* rows[] = {dense.row(image, y), pointwise.row(image, y), in.row(image, y)};
      kernels_.sum_branches(rows, scale, shift, branches, out.channels, out.size.width, relu,
                            out.row(image, y));
    }
  });
}

void CpuNetwork::SqueezeAndExcite(const Gate& gate, int images, const Maps& maps, bool relu) {
  const int channels = maps.channels;
  const int squeezed = gate.down_bias.size();
  pool_->Run(images, [&](size_t begin, size_t end) {
    std::vector<float> mean(channels), hidden(squeezed), weight(channels);
    for (size_t image = begin; image < end; ++image) {
      PoolImage(maps, image, mean.data());
      kernels_.matrix_vector(gate.down_weight.data(), gate.down_bias.data(), mean.data(), squeezed, channels,
                             hidden.data());
      for (float& value : hidden) value = value < 0 ? 0 : value;
      kernels_.matrix_vector(gate.up_weight.data(), gate.up_bias.data(), hidden.data(), channels, squeezed,
                             weight.data());
      for (float& value : weight) value = 1.0f / (1.0f + std::exp(-value));
      for (int y = 0; y < maps.size.height; ++y) {
        kernels_.gate(maps.row(image, y), weight.data(), channels, maps.size.width, relu);
      }
    }
  });
}

// Rows are summed in float, rows of sums in double: a 112 x 112 map loses no more than a 112-pixel row does.
void CpuNetwork::PoolImage(const Maps& maps, int image, float* mean) {
  std::vector<double> total(maps.channels);
  std::vector<float> row(maps.channels);
  for (int y = 0; y < maps.size.height; ++y) {
    std::fill(row.begin(), row.end(), 0.0f);
    kernels_.sum_pixels(maps.row(image, y), maps.channels, maps.size.width, row.data());
    for (int c = 0; c < maps.channels; ++c) total[c] += row[c];
  }
  const double pixels = static_cast<double>(maps.size.height) * maps.size.width;
  for (int c = 0; c < maps.channels; ++c) mean[c] = static_cast<float>(total[c] / pixels);
}

}  // namespace repvgg::cpu
