// Pillow's filters (src/libImaging/Resample.c) for one axis of an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/resample.h"

namespace repvgg {

constexpr int kChannels = 3;
// Pillow's fixed point: weights have 22 fractional bits, sums fit 32 bits and are rounded once.
constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);  // Rounds a sum.

// Which input samples make each wanted output sample, and with what weights.
struct Axis {
  bool identity = true;  // The axis keeps its size: outputs are inputs.
  int begin = 0;         // First and one past the last input sample that any output depends on.
  int end = 0;
  int taps = 1;                  // The most input samples that an output has.
  std::vector<int> first;        // First input sample of each output, of `begin` on.
  std::vector<int> count;        // Number of input samples.
  std::vector<int32_t> weights;  // [outputs][taps], zeros after the first `count`.

  int outputs() const { return static_cast<int>(first.size()); }
  const int32_t* WeightsOf(int output) const { return &weights[static_cast<size_t>(output) * taps]; }
};

// The outputs [begin, end) of an axis of `in` samples that is resized to `size`.
Axis MakeAxis(int in, int64_t size, int64_t begin, int64_t end, Interpolation interpolation);

}  // namespace repvgg
