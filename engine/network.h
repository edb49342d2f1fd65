// The backend-independent description of a network. Shapes come first and parameters block by block, so that
// at most one block's tensors need exist outside the backend at a time.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace repvgg {

enum class Form { kDeploy, kTrain };
enum class SqueezeExcitePosition { kNone, kBeforeRelu, kAfterRelu };

// One 3x3 block with padding 1. The output is ceil(height / stride) x ceil(width / stride).
struct BlockShape {
  int in_channels = 0;
  int out_channels = 0;
  int stride = 1;
  int groups = 1;
  bool identity = false;     // The train form has an identity branch.
  int squeeze_channels = 0;  // Hidden channels of squeeze-and-excite; 0 without it.
};

struct NetworkShape {
  Form form = Form::kDeploy;
  SqueezeExcitePosition squeeze_excite = SqueezeExcitePosition::kNone;
  std::vector<BlockShape> blocks;
  int num_classes = 0;  // 0 for a backbone without a classifier.
  int height = 0;       // Of every input image, in pixels.
  int width = 0;
  // An input value v of 0..255 becomes (v / 255 - mean) / stddev. Padding is zero after that.
  std::array<float, 3> mean{};
  std::array<float, 3> stddev{};
  // For fp8: the largest value of each output channel over calibration images, block after block.
  std::vector<float> ranges;

  // The index in `ranges` of the first channel of block `index`.
  int first_channel(size_t index) const {
    int total = 0;
    for (size_t i = 0; i < index; ++i) total += blocks[i].out_channels;
    return total;
  }
  int total_channels() const { return first_channel(blocks.size()); }
  int embedding_channels() const { return blocks.back().out_channels; }
};

using Floats = std::span<const float>;

struct BatchNorm {
  Floats gamma, beta, mean, variance;
  double eps = 0;
};

struct SqueezeExcite {
  Floats down_weight;  // [squeeze][channels]
  Floats down_bias;
  Floats up_weight;  // [channels][squeeze]
  Floats up_bias;
};

// Receives the fused kernels of a block a few output channels at a time and packs them into the backend's
// layout while they are in cache, so that no intermediate copy of all of them is needed.
class KernelSink {
 public:
  KernelSink(size_t channels, size_t width) : channels(channels), width(width) {}
  virtual ~KernelSink() = default;
  KernelSink(const KernelSink&) = delete;
  KernelSink& operator=(const KernelSink&) = delete;

  // Takes [count][width][3][3], the kernels of output channels from `first` on. Each channel once, on any
  // thread.
  virtual void Put(const float* kernels, size_t first, size_t count) = 0;

  const size_t channels;  // Output channels.
  const size_t width;     // Input channels of a group.
};

// Kernels are [out_channels][in_channels / groups][size][size].
struct DeployBlock {
  Floats weight;  // Empty where the backend's sink has received the kernels.
  Floats bias;
  SqueezeExcite squeeze_excite;  // Empty where the shape has none.
  Floats scale;                  // For fp8, once quantised (engine/fp8.h).
};

struct TrainBranch {
  Floats weight;
  Floats bias;  // Empty for the bias-free convolutions of the official networks.
  BatchNorm batch_norm;
};

struct TrainBlock {
  TrainBranch dense;      // 3x3
  TrainBranch pointwise;  // 1x1
  BatchNorm identity;     // Empty where the shape has none.
  SqueezeExcite squeeze_excite;
};

struct Linear {
  Floats weight;  // [num_classes][channels]
  Floats bias;
};

}  // namespace repvgg
