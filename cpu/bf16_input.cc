#include "cpu/bf16_input.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace repvgg::cpu {
namespace {

// Differences to it are between -255 and 255, which bf16 holds.
double Middle(const NetworkShape& shape, int channel) {
  return std::clamp(std::round(255.0 * shape.mean[channel]), 0.0, 255.0);
}

// What is zero once normalised: so is padding.
Bf16 Border(const NetworkShape& shape, int channel) {
  return ToBf16(static_cast<float>(255.0 * shape.mean[channel] - Middle(shape, channel)));
}

}  // namespace

Bf16Input::Bf16Input(const NetworkShape& shape)
    : height_(shape.height), width_(shape.width), stride_(shape.blocks[0].stride) {
  out_ = {(height_ - 1) / stride_ + 1, (width_ - 1) / stride_ + 1};
  for (int c = 0; c < 3; ++c) {
    middle_[c] = static_cast<float>(Middle(shape, c));
    border_[c] = Border(shape, c);
  }
}

void Bf16Input::WriteWindows(const uint8_t* pixels, int row, Bf16* lines) const {
  const size_t row_values = size_t{3} * (width_ + 2);
  thread_local std::vector<Bf16> rows;
  rows.resize(3 * row_values);
  for (int r = 0; r < 3; ++r) {
    Bf16* const to = &rows[r * row_values];
    const int y = row * stride_ + r - 1;
    if (y < 0 || y >= height_) {
      for (size_t i = 0; i < row_values; ++i) to[i] = border_[i % 3];
      continue;
    }
    const uint8_t* const from = pixels + static_cast<size_t>(y) * width_ * 3;
    std::copy_n(border_, 3, to);
    std::copy_n(border_, 3, to + row_values - 3);
    for (int x = 0; x < width_; ++x) {
      for (int c = 0; c < 3; ++c) {
        // Exact: the lower half of these floats is zero.
        const float value = static_cast<float>(from[x * 3 + c]) - middle_[c];
        to[(x + 1) * 3 + c] = {static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16)};
      }
    }
  }
  for (int x = 0; x < out_.width; ++x, lines += kLineChannels) {
    for (int r = 0; r < 3; ++r)
      std::memcpy(lines + r * 9, &rows[r * row_values + static_cast<size_t>(x) * stride_ * 3],
                  9 * sizeof(Bf16));
    std::memset(lines + kWindowValues, 0, (kLineChannels - kWindowValues) * sizeof(Bf16));
  }
}

FirstLayer FoldNormalization(const NetworkShape& shape, Floats weight, Floats bias) {
  const BlockShape& block = shape.blocks[0];
  const int group_in = block.in_channels / block.groups;
  const int group_out = block.out_channels / block.groups;
  FirstLayer folded;
  for (int k = 0; k < block.out_channels; ++k) {
    double sum = bias.empty() ? 0 : bias[k];
    for (int i = 0; i < group_in; ++i) {
      const int c = k / group_out * group_in + i;
      for (int tap = 0; tap < 9; ++tap) {
        const double scaled = weight[folded.weight.size()] / (255.0 * shape.stddev[c]);
        sum -= scaled * ToFloat(Border(shape, c));
        folded.weight.push_back(static_cast<float>(scaled));
      }
    }
    folded.bias.push_back(static_cast<float>(sum));
  }
  return folded;
}

}  // namespace repvgg::cpu
