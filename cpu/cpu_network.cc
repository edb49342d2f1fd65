#include "cpu/cpu_network.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/error.h"

namespace repvgg::cpu {
namespace {

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

CpuNetwork::CpuNetwork(NetworkShape network, const KernelTable& kernels, std::shared_ptr<ThreadPool> pool,
                       std::string algorithm)
    : Network(std::move(network)),
      kernels_(kernels),
      pool_(std::move(pool)),
      algorithm_(std::move(algorithm)),
      plan_(PlanMemory(shape(), 1)),
      images_at_once_(pool_->threads()),
      blocks_(shape().blocks.size()),
      scratch_(pool_->threads()) {
  for (int i = 0; i < 2; ++i) {
    activations_[i] = HugeArray(plan_.elements[i] * images_at_once_);
    branches_[i] = HugeArray(plan_.branch_elements * images_at_once_);
  }
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

void CpuNetwork::PackDense(size_t index, Floats weight, Floats bias) {
  const BlockShape& block = shape().blocks[index];
  const MapSize size = plan_.sizes[index + 1];
  // Gates amplify rounding errors: with Winograd the logits of D2se (seeded weights) are off by 1.6e-5 in
  // relative L2, above the bound of 1e-5 that direct convolution keeps (9.3e-6).
  const bool accurate = shape().squeeze_excite == SqueezeExcitePosition::kNone;
  const bool possible = block.stride == 1 && block.in_channels % kernels_.lanes == 0;
  // Tiles that reach over the edge are computed whole: a 2x2 map costs as much as a 4x4 one. Transforms cost
  // about as much as 12 of the 36 positions.
  const double tiles = std::ceil(size.height / 4.0) * std::ceil(size.width / 4.0);
  const bool pays = tiles * (kWinogradPositions + 12) < 9.0 * size.height * size.width;
  if (possible && (algorithm_ == "winograd" || (algorithm_.empty() && accurate && pays))) {
    PackedWinograd& packed = blocks_[index].winograd;
    packed = PackWinograd(weight.data(), bias.data(), block.in_channels, block.out_channels, block.groups,
                          kernels_.block_width);
    const size_t scratch = WinogradScratch(packed, kernels_.block_width);
    for (HugeArray& array : scratch_) {
      if (array.size() < scratch) array = HugeArray(scratch);
    }
  } else {
    blocks_[index].direct = Pack(weight.data(), bias.data(), 9, block.in_channels, block.out_channels,
                                 block.stride, block.groups, kernels_.block_width);
  }
}

void CpuNetwork::SetBlock(size_t index, const DeployBlock& from) {
  PackDense(index, from.weight, from.bias);
  blocks_[index].gate = CopyGate(from.squeeze_excite);
}

void CpuNetwork::SetBlock(size_t index, const TrainBlock& from) {
  const BlockShape& block = shape().blocks[index];
  PackDense(index, from.dense.weight, from.dense.bias);
  blocks_[index].pointwise =
      Pack(from.pointwise.weight.data(), from.pointwise.bias.data(), 1, block.in_channels, block.out_channels,
           block.stride, block.groups, kernels_.block_width);
  blocks_[index].dense_affine = MakeAffine(from.dense.batch_norm);
  blocks_[index].pointwise_affine = MakeAffine(from.pointwise.batch_norm);
  blocks_[index].identity_affine = MakeAffine(from.identity);
  blocks_[index].gate = CopyGate(from.squeeze_excite);
}

void CpuNetwork::SetLinear(const Linear& linear) {
  linear_weight_.assign(linear.weight.begin(), linear.weight.end());
  linear_bias_.assign(linear.bias.begin(), linear.bias.end());
}

void CpuNetwork::Run(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled) {
  const size_t in_size = static_cast<size_t>(shape().height) * shape().width * 3;
  const size_t out_size = output == Output::kLogits ? shape().num_classes : shape().embedding_channels();
  for (int first = 0; first < batch.count; first += images_at_once_) {
    const ImageBatch part = {batch.pixels + first * in_size, std::min(images_at_once_, batch.count - first)};
    RunImages(part, output, out + first * out_size, cancelled);
  }
}

void CpuNetwork::RunImages(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled) {
  Maps in = {activations_[0].data(), plan_.sizes[0], shape().blocks[0].in_channels};
  Normalize(batch, in);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (cancelled()) throw Error(kAborted, "The run was aborted.");
    const Maps next = {activations_[(i + 1) % 2].data(), plan_.sizes[i + 1], shape().blocks[i].out_channels};
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
  pool_->Run(batch.count, [&](const ThreadPool::Share& share) {
    for (size_t image = share.begin; image < share.end; ++image)
      PoolImage(in, image, embeddings + image * channels);
  });
  if (output == Output::kEmbedding) return;
  const size_t classes = shape().num_classes;
  pool_->Run(classes, [&](const ThreadPool::Share& share) {
    for (int image = 0; image < batch.count; ++image) {
      kernels_.matrix_vector(&linear_weight_[share.begin * channels], &linear_bias_[share.begin],
                             embeddings + static_cast<size_t>(image) * channels, share.end - share.begin,
                             channels, out + image * classes + share.begin);
    }
  });
}

void CpuNetwork::Normalize(const ImageBatch& batch, const Maps& out) {
  // One table per channel: dividing by 255 and by the deviation in this order is what torchvision does.
  std::array<std::array<float, 256>, 3> table;
  for (int c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) {
      table[c][v] = (static_cast<float>(v) / 255.0f - shape().mean[c]) / shape().stddev[c];
    }
  }
  const size_t height = shape().height;
  const size_t width = shape().width;
  pool_->Run(batch.count * height, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i) {
      if (i % height == 0) ZeroBorder(out, i / height);
      const uint8_t* from = batch.pixels + i * width * 3;
      float* to = out.row(i / height, i % height);
      for (size_t x = 0; x < width; ++x) {
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
    ConvolveDense(block, images, in, out, relu);
  } else {
    const Maps dense = {branches_[0].data(), out.size, out.channels};
    const Maps pointwise = {branches_[1].data(), out.size, out.channels};
    ConvolveDense(block, images, in, dense, false);
    ConvolveDirect(block.pointwise, images, in, pointwise, false);
    SumBranches(block, images, in, dense, pointwise, out, relu);
  }
  if (squeeze != SqueezeExcitePosition::kNone) SqueezeAndExcite(block.gate, images, out, !relu);
}

void CpuNetwork::ConvolveDense(const Block& block, int images, const Maps& in, const Maps& out, bool relu) {
  if (block.winograd.weight != nullptr) {
    ConvolveWinograd(block.winograd, images, in, out, relu);
  } else {
    ConvolveDirect(block.direct, images, in, out, relu);
  }
}

void CpuNetwork::ConvolveWinograd(const WinogradConvolution& convolution, int images, const Maps& in,
                                  const Maps& out, bool relu) {
  const int tile_rows = (out.size.height + kWinogradTile - 1) / kWinogradTile;
  const int tile_columns = (out.size.width + kWinogradTile - 1) / kWinogradTile;
  const WinogradMaps maps = {in.row(0, 0),     in.row_stride(),    in.image_stride(), out.row(0, 0),
                             out.row_stride(), out.image_stride(), out.size.height,   out.size.width,
                             tile_rows,        tile_columns};
  const size_t per_image = static_cast<size_t>(tile_rows) * tile_columns;
  pool_->Run(images * per_image, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i) {
      if (i % per_image == 0) ZeroBorder(out, i / per_image);
    }
    RunWinograd(kernels_, convolution, maps, share.begin, share.end, relu, scratch_[share.thread].data());
  });
}

void CpuNetwork::ConvolveDirect(const Convolution& convolution, int images, const Maps& in, const Maps& out,
                                bool relu) {
  const size_t height = out.size.height;
  pool_->Run(images * height, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i) {
      if (i % height == 0) ZeroBorder(out, i / height);
    }
    // Blocks outside, rows inside: a block's weights are read from memory once and serve every row of this
    // share.
    for (int group = 0; group < convolution.groups; ++group) {
      for (int block = 0; block < convolution.blocks; ++block) {
        for (size_t i = share.begin; i < share.end; ++i) {
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

void CpuNetwork::SqueezeAndExcite(const Gate& gate, int images, const Maps& maps, bool relu) {
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
