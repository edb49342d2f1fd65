// The layout of bf16 maps. Channels are split into blocks of 32, each with a plane of lines. A line holds one
// pixel's channels of the block: 64 bytes, a cache line and a row of an AMX tile. A stride-1 convolution
// reads consecutive lines, even across the end of a row: each row is followed by one line of zeros, which is
// both its right border and the left border of the next row.
//
// Where the next convolution has stride 2, pixels are sorted by the parity of their row and column into four
// consecutive planes, so that it reads consecutive lines as well.
//
// A map may have two bf16 parts, whose sum has 16 bits of precision.
#pragma once

#include <cstddef>

#include "cpu/bf16.h"
#include "engine/memory_plan.h"

namespace repvgg::cpu {

constexpr int kLineChannels = 32;

inline int LineBlocks(int channels) { return (channels + kLineChannels - 1) / kLineChannels; }

// The positions of the pixels of one block of channels.
class Bf16Plane {
 public:
  Bf16Plane() = default;
  // `stride` is that of the convolution that reads the map.
  Bf16Plane(MapSize size, int stride)
      : size_(size),
        stride_(stride),
        pitch_((size.width - 1) / stride + 2),
        plane_lines_(((size.height - 1) / stride + (stride == 1 ? 3 : 2)) * pitch_ + 1) {}

  MapSize size() const { return size_; }
  int stride() const { return stride_; }
  int pitch() const { return pitch_; }  // Lines between consecutive rows of the reader's output.
  int lines() const { return stride_ * stride_ * plane_lines_; }

  // -1 <= y <= height, -1 <= x <= width: the border has lines too.
  int Line(int y, int x) const {
    const int plane = (y + 1) % stride_ * stride_ + (x + 1) % stride_;
    return plane * plane_lines_ + (y + 1) / stride_ * pitch_ + (x + 1) / stride_;
  }

 private:
  MapSize size_;
  int stride_ = 1;
  int pitch_ = 0;
  int plane_lines_ = 0;
};

// The maps of a point of the network: [image][part][block][line][32].
struct Bf16Maps {
  using Value = Bf16;
  // Values that may be read behind the maps: a convolution always computes 32 positions at a time.
  static constexpr size_t kReadAhead = 64 * kLineChannels;

  Bf16* data = nullptr;
  int pixels = 0;
  int channels = 0;
  int parts = 1;
  int blocks = 0;
  int lines = 0;  // Per block; those without a pixel are zeros.

  size_t block_stride() const { return static_cast<size_t>(lines) * kLineChannels; }
  size_t part_stride() const { return blocks * block_stride(); }
  size_t image_stride() const { return parts * part_stride(); }
  Bf16Maps image(size_t first) const {
    Bf16Maps maps = *this;
    maps.data += first * image_stride();
    return maps;
  }
};

}  // namespace repvgg::cpu
