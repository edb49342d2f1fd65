// The filter weights of Pillow (src/libImaging/Resample.c) for one axis of an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/resample.h"

namespace repvgg {

constexpr int kChannels = 3;
// Pillow's fixed-point format: weights with 22 fractional bits; sums fit 32 bits and are rounded once.
constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);  // Rounds a sum.

// The input samples that each requested output sample depends on, and their weights.
struct Axis {
  bool identity = true;  // The size is unchanged: outputs are copies of inputs.
  int begin = 0;         // First and one past the last input sample that any output depends on.
  int end = 0;
  int taps = 1;                  // The largest `count`.
  std::vector<int> first;        // First input sample of each output, relative to `begin`.
  std::vector<int> count;        // Number of input samples.
  std::vector<int32_t> weights;  // [outputs][taps], padded with zeros.

  int outputs() const { return static_cast<int>(first.size()); }
  const int32_t* WeightsOf(int output) const { return &weights[static_cast<size_t>(output) * taps]; }
};

// For the outputs [begin, end) of an axis of `in` samples that is resized to `size`.
Axis MakeAxis(int in, int64_t size, int64_t begin, int64_t end, Interpolation interpolation);

}  // namespace repvgg
