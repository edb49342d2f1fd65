#include "cpu/fp8_simulation.h"

#include <algorithm>

#include "engine/e4m3.h"

namespace repvgg::cpu {

QuantizedBlock SimulateFp8(const NetworkShape& shape, size_t index, const DeployBlock& block) {
  QuantizedBlock quantized = QuantizeBlock(shape, index, block);
  const size_t row = quantized.weight.size() / quantized.scale.size();
  for (size_t i = 0; i < quantized.weight.size(); ++i) quantized.weight[i] *= quantized.scale[i / row];
  return quantized;
}

void RoundMaps(ThreadPool& pool, const Fp32Maps& maps, int images) {
  const size_t height = maps.size.height, values = static_cast<size_t>(maps.size.width) * maps.channels;
  pool.Run(images * height, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i) {
      float* const row = maps.row(i / height, i % height);
      std::transform(row, row + values, row, RoundToE4m3);
    }
  });
}

void NoteRanges(const Fp32Maps& maps, int images, float* ranges) {
  for (int i = 0; i < images * maps.size.height; ++i) {
    const float* pixel = maps.row(i / maps.size.height, i % maps.size.height);
    for (int x = 0; x < maps.size.width; ++x, pixel += maps.channels) {
      for (int c = 0; c < maps.channels; ++c) ranges[c] = std::max(ranges[c], pixel[c]);
    }
  }
}

}  // namespace repvgg::cpu
