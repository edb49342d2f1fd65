#include "cpu/bf16_input.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace repvgg::cpu {
namespace {

// Differences from it are integers from -255 to 255, exact in bf16.
double Middle(const NetworkShape& shape, int channel) {
  return std::clamp(std::round(255.0 * shape.mean[channel]), 0.0, 255.0);
}

// The level that normalises to zero, which is the value of padding.
Bf16 Border(const NetworkShape& shape, int channel) {
  return ToBf16(static_cast<float>(255.0 * shape.mean[channel] - Middle(shape, channel)));
}

}  // namespace

Bf16Input::Bf16Input(const NetworkShape& shape, const Bf16Kernels& kernels)
    : kernels_(kernels),
      height_(shape.height),
      width_(shape.width),
      stride_(shape.blocks[0].stride),
      windows_((width_ - 1) / stride_ + 1) {
  for (int i = 0; i < kWindowValues; ++i) middle_[i] = static_cast<float>(Middle(shape, i % 3));
  for (int c = 0; c < 3; ++c) border_[c] = Border(shape, c);
}

void Bf16Input::WriteWindows(const uint8_t* pixels, int row, Bf16* lines) const {
  constexpr int kRowValues = 9;
  constexpr int kCopied = 12;  // Bytes, since 9 take more instructions.
  std::vector<uint8_t> bytes(static_cast<size_t>(windows_) * kLineChannels);
  const uint8_t* const end = pixels + static_cast<size_t>(height_) * width_ * 3;
  const auto to = [&](int window, int r) {
    return static_cast<size_t>(window) * kLineChannels + r * kRowValues;
  };
  for (int r = 0; r < 3; ++r) {
    const int y = row * stride_ + r - 1;
    if (y < 0 || y >= height_) continue;
    const uint8_t* const from = pixels + static_cast<size_t>(y) * width_ * 3;
    for (int window = 0; window < windows_; ++window) {
      const int x = window * stride_ - 1;
      if (x >= 0 && x + 3 <= width_ && end - (from + x * 3) >= kCopied) {
        std::memcpy(&bytes[to(window, r)], from + x * 3, kCopied);
      } else {
        for (int c = std::max(0, -x); c < std::min(3, width_ - x); ++c)
          std::copy_n(from + (x + c) * 3, 3, &bytes[to(window, r) + c * 3]);
      }
    }
  }
  kernels_.subtract(bytes.data(), middle_, kWindowValues, windows_, lines);

  const auto set_border = [&](int window, int r, int c) {
    std::copy_n(border_, 3, lines + to(window, r) + c * 3);
  };
  for (int r = 0; r < 3; ++r) {
    const int y = row * stride_ + r - 1;
    const bool outside = y < 0 || y >= height_;
    for (int window = 0; outside && window < windows_; ++window) {
      for (int c = 0; c < 3; ++c) set_border(window, r, c);
    }
    set_border(0, r, 0);
    if ((windows_ - 1) * stride_ + 1 >= width_) set_border(windows_ - 1, r, 2);
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
