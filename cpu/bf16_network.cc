#include "cpu/bf16_network.h"

#include <algorithm>

#include "engine/error.h"

namespace repvgg::cpu {
namespace {

// What is stored in two bf16 parts, to keep the relative error of the logits below 2e-2 (docs/cpu.md).
struct Parts {
  size_t maps;  // The number of leading block outputs with two parts.
  int weights;  // 1 or 2
};

Parts ChooseParts(const NetworkShape& shape) {
  // Gates amplify rounding errors.
  if (shape.squeeze_excite != SqueezeExcitePosition::kNone) return {shape.blocks.size(), 2};
  // Errors accumulate with depth, and most come from the first maps.
  constexpr size_t kManyBlocks = 24;
  constexpr size_t kFirstMaps = 7;
  return {shape.blocks.size() > kManyBlocks ? kFirstMaps : 0, 1};
}

std::vector<Bf16Plane> PlacePixels(const NetworkShape& shape) {
  std::vector<Bf16Plane> planes;
  MapSize size = {shape.height, shape.width};
  for (size_t i = 0; i < shape.blocks.size(); ++i) {
    const int stride = shape.blocks[i].stride;
    size = {(size.height - 1) / stride + 1, (size.width - 1) / stride + 1};
    planes.emplace_back(size, i + 1 < shape.blocks.size() ? shape.blocks[i + 1].stride : 1);
  }
  return planes;
}

Bf16Maps MakeMaps(const NetworkShape& shape, const std::vector<Bf16Plane>& planes, size_t point) {
  if (point == 0) {
    const int windows = planes[0].size().height * planes[0].size().width;
    return {nullptr, windows, kWindowValues, 1, 1, windows};
  }
  const int parts = point <= ChooseParts(shape).maps ? 2 : 1;
  const Bf16Plane& plane = planes[point - 1];
  const int channels = shape.blocks[point - 1].out_channels;
  return {nullptr,      plane.size().height * plane.size().width, channels, parts, LineBlocks(channels),
          plane.lines()};
}

template <class Pointer>
Pointer SecondPart(const Bf16Maps& maps, Pointer first) {
  return maps.parts == 2 ? first + maps.part_stride() : nullptr;
}

MemoryPlan MakePlan(const NetworkShape& shape) {
  MemoryPlan plan = PlanMemory(shape, 0);
  const std::vector<Bf16Plane> planes = PlacePixels(shape);
  for (size_t point = 0; point < plan.elements.size(); ++point)
    plan.elements[point] = MakeMaps(shape, planes, point).image_stride();
  return plan;
}

}  // namespace

Bf16Network::Bf16Network(NetworkShape network, const KernelTable& kernels, const Bf16Kernels& bf16,
                         std::shared_ptr<ThreadPool> pool, BackendOptions options)
    : CpuNetwork(network, kernels, std::move(pool), std::move(options), MakePlan(network)),
      bf16_(bf16),
      input_(shape(), bf16),
      planes_(PlacePixels(shape())),
      blocks_(shape().blocks.size()) {}

void Bf16Network::SetBlock(size_t index, const DeployBlock& from) {
  const BlockShape& block = shape().blocks[index];
  const int weight_parts = ChooseParts(shape()).weights;
  if (index == 0) {
    const FirstLayer first = FoldNormalization(shape(), from.weight, from.bias);
    blocks_[0].convolution = std::make_unique<Bf16ConvolutionLayer>(
        bf16_, block, first.weight, first.bias, weight_parts, Bf16Plane(), planes_[0], true);
  } else {
    blocks_[index].convolution = std::make_unique<Bf16ConvolutionLayer>(
        bf16_, block, from.weight, from.bias, weight_parts, planes_[index - 1], planes_[index], false);
  }
  blocks_[index].gate = CopyGate(from.squeeze_excite);
}

void Bf16Network::SetBlock(size_t, const TrainBlock&) {
  throw Error("ERR_PRECISION_UNSUPPORTED", "The train form runs in fp32 only.");
}

Bf16Maps Bf16Network::MapsAt(size_t point, Bf16* data) const {
  Bf16Maps maps = MakeMaps(shape(), planes_, point);
  maps.data = data;
  return maps;
}

void Bf16Network::ReadPixels(const ImageBatch& batch, const Bf16Maps& out) {
  const size_t image_size = static_cast<size_t>(shape().height) * shape().width * 3;
  const auto [height, width] = planes_[0].size();
  pool_->Run(static_cast<size_t>(batch.count) * height, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i)
      input_.WriteWindows(batch.pixels + i / height * image_size, i % height,
                          out.data + i * width * kLineChannels);
  });
}

void Bf16Network::RunBlock(size_t index, int images, const Bf16Maps& in, const Bf16Maps& out) {
  const SqueezeExcitePosition squeeze = shape().squeeze_excite;
  const bool relu = squeeze != SqueezeExcitePosition::kBeforeRelu;
  blocks_[index].convolution->Run(*pool_, images, in, out, relu);
  if (squeeze != SqueezeExcitePosition::kNone) SqueezeAndExcite(blocks_[index].gate, images, out, !relu);
}

// Sums all lines, since those without a pixel are zeros: few at a time in float, these sums in double.
void Bf16Network::PoolImage(const Bf16Maps& maps, int image, float* mean) const {
  constexpr int kLinesInFloat = 64;
  for (int block = 0; block < maps.blocks; ++block) {
    const Bf16* const lines = maps.image(image).data + block * maps.block_stride();
    double total[kLineChannels] = {};
    for (int line = 0; line < maps.lines; line += kLinesInFloat) {
      const Bf16* const from = lines + static_cast<size_t>(line) * kLineChannels;
      float sum[kLineChannels] = {};
      bf16_.sum(from, SecondPart(maps, from), std::min(kLinesInFloat, maps.lines - line), sum);
      for (int c = 0; c < kLineChannels; ++c) total[c] += sum[c];
    }
    const int first = block * kLineChannels;
    for (int c = 0; c < std::min(kLineChannels, maps.channels - first); ++c)
      mean[first + c] = static_cast<float>(total[c] / maps.pixels);
  }
}

void Bf16Network::GateImage(const Bf16Maps& maps, int image, const float* gate, bool relu) const {
  for (int block = 0; block < maps.blocks; ++block) {
    const int first = block * kLineChannels;
    float of_block[kLineChannels] = {};
    std::copy_n(gate + first, std::min(kLineChannels, maps.channels - first), of_block);
    Bf16* const lines = maps.image(image).data + block * maps.block_stride();
    bf16_.gate(lines, SecondPart(maps, lines), of_block, maps.lines, relu);
  }
}

}  // namespace repvgg::cpu
