#pragma once

#include <cstddef>

#include "engine/memory_plan.h"

namespace repvgg::cpu {

// Activations of several images at one point of the network, in the bordered layout of kernels.h.
struct Maps {
  float* data = nullptr;
  MapSize size;
  int channels = 0;

  ptrdiff_t row_stride() const { return static_cast<ptrdiff_t>(size.width + 2) * channels; }
  ptrdiff_t image_stride() const { return static_cast<ptrdiff_t>(size.height + 2) * row_stride(); }
  // The first pixel of row `y`; -1 and `height` are the borders.
  float* row(int image, int y) const {
    return data + image * image_stride() + (y + 1) * row_stride() + channels;
  }
  Maps image(int first) const { return {data + first * image_stride(), size, channels}; }
};

void ZeroBorder(const Maps& maps, int image);

}  // namespace repvgg::cpu
