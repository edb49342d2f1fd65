// The two passes of a resize. Every kernel makes the same sums of integers, and so the same pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/resample_axis.h"

namespace repvgg {

// Kernels take this many taps at a time. Where an output has fewer, the others weigh nothing.
constexpr int kTapsAtOnce = 4;

// As many bytes after those of a row may be overwritten, and read by the vertical pass.
constexpr size_t kRowSlack = 32;

// Four weights, each cut in two so that they fit 16 bits: high * 2^kLowBits + low.
struct SplitWeights {
  static constexpr int kLowBits = 11;
  int16_t high[kTapsAtOnce];
  int16_t low[kTapsAtOnce];
};

// The horizontal pass, made ready once for all rows of an image.
class HorizontalPass {
 public:
  explicit HorizontalPass(const Axis& axis);

  // From `row`, which RowSource::kReadableBeyond holds for, to `out`, [outputs][3].
  void Run(const uint8_t* row, uint8_t* out) const;

 private:
  static constexpr int kOutputsAtOnce = 4;

  // Weights 0 and 1 four times over, then 2 and 3.
  struct alignas(64) SpreadWeights {
    int16_t high[16];
    int16_t low[16];
  };

  void Avx2(const uint8_t* row, uint8_t* out) const;
  void Avx2Blocks(const uint8_t* row, int blocks, uint8_t* out) const;

  const Axis& axis_;
  int blocks_ = 0;                      // Of taps, for each output.
  std::vector<int> first_;              // First byte of each output's taps. Of a multiple of four outputs.
  std::vector<SpreadWeights> weights_;  // [outputs / 4][blocks][4]
};

// The vertical pass, made ready once for an image.
class VerticalPass {
 public:
  explicit VerticalPass(const Axis& axis);

  // Output `y`, of `length` bytes, from its rows, of which there are as many as the axis has taps.
  void Run(int y, const uint8_t* const* rows, size_t length, uint8_t* out) const;

 private:
  void Avx2(int y, const uint8_t* const* rows, size_t length, uint8_t* out) const;

  const Axis& axis_;
  int blocks_ = 0;
  std::vector<SplitWeights> weights_;  // [outputs][blocks]
};

}  // namespace repvgg
