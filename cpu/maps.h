#pragma once

#include <cstddef>
#include <cstring>

#include "cpu/kernels.h"
#include "engine/memory_plan.h"

namespace repvgg::cpu {

// Activations of several images at one point of the network, in the bordered layout of kernels.h.
struct Fp32Maps {
  using Value = float;
  static constexpr size_t kReadAhead = cpu::kReadAhead;

  float* data = nullptr;
  MapSize size;
  int channels = 0;

  ptrdiff_t row_stride() const { return static_cast<ptrdiff_t>(size.width + 2) * channels; }
  ptrdiff_t image_stride() const { return static_cast<ptrdiff_t>(size.height + 2) * row_stride(); }
  // The first pixel of row `y`; -1 and `height` are the borders.
  float* row(int image, int y) const {
    return data + image * image_stride() + (y + 1) * row_stride() + channels;
  }
  Fp32Maps image(int first) const { return {data + first * image_stride(), size, channels}; }
};

inline void ZeroBorder(const Fp32Maps& maps, int image) {
  const size_t row = maps.row_stride();
  std::memset(maps.row(image, -1) - maps.channels, 0, row * sizeof(float));
  std::memset(maps.row(image, maps.size.height) - maps.channels, 0, row * sizeof(float));
  for (int y = 0; y < maps.size.height; ++y) {
    float* begin = maps.row(image, y) - maps.channels;
    std::memset(begin, 0, maps.channels * sizeof(float));
    std::memset(begin + row - maps.channels, 0, maps.channels * sizeof(float));
  }
}

}  // namespace repvgg::cpu
