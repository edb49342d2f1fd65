#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "engine/memory_plan.h"

namespace repvgg::cpu {

// Activations of several images at one point of the network, in the bordered layout of kernels.h.
template <class T>
struct Maps {
  T* data = nullptr;
  MapSize size;
  int channels = 0;

  ptrdiff_t row_stride() const { return static_cast<ptrdiff_t>(size.width + 2) * channels; }
  ptrdiff_t image_stride() const { return static_cast<ptrdiff_t>(size.height + 2) * row_stride(); }
  // The first pixel of row `y`; -1 and `height` are the borders.
  T* row(int image, int y) const { return data + image * image_stride() + (y + 1) * row_stride() + channels; }
  Maps image(int first) const { return {data + first * image_stride(), size, channels}; }
};

// Sets every pixel of the border to `pixel`, [channels].
template <class T>
void SetBorder(const Maps<T>& maps, int image, const T* pixel) {
  const int channels = maps.channels;
  const auto set = [&](T* to) { std::copy_n(pixel, channels, to); };
  for (int x = -1; x <= maps.size.width; ++x) {
    set(maps.row(image, -1) + static_cast<ptrdiff_t>(x) * channels);
    set(maps.row(image, maps.size.height) + static_cast<ptrdiff_t>(x) * channels);
  }
  for (int y = 0; y < maps.size.height; ++y) {
    set(maps.row(image, y) - channels);
    set(maps.row(image, y) + static_cast<ptrdiff_t>(maps.size.width) * channels);
  }
}

template <class T>
void ZeroBorder(const Maps<T>& maps, int image) {
  const size_t row = maps.row_stride();
  std::memset(maps.row(image, -1) - maps.channels, 0, row * sizeof(T));
  std::memset(maps.row(image, maps.size.height) - maps.channels, 0, row * sizeof(T));
  for (int y = 0; y < maps.size.height; ++y) {
    T* begin = maps.row(image, y) - maps.channels;
    std::memset(begin, 0, maps.channels * sizeof(T));
    std::memset(begin + row - maps.channels, 0, maps.channels * sizeof(T));
  }
}

}  // namespace repvgg::cpu
