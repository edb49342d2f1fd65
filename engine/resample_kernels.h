// The two passes of a resize. All kernels compute the same integer sums, and therefore the same pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/resample_axis.h"

namespace repvgg {

// Kernels process taps in blocks of this many; missing taps have weight zero.
constexpr int kTapsAtOnce = 4;

// Rows are followed by this many bytes that either pass may overwrite and the vertical pass may read.
constexpr size_t kRowSlack = 32;

// Weights split into two 16-bit halves: high * 2^kLowBits + low.
struct SplitWeights {
  static constexpr int kLowBits = 11;
  int16_t high[kTapsAtOnce];
  int16_t low[kTapsAtOnce];
};

// The horizontal pass, prepared once for all rows of an image.
class HorizontalPass {
 public:
  HorizontalPass(const Axis& axis, ResampleKernels kernels);

  // Writes `out`, [outputs][3]. RowSource::kReadableBeyond bytes behind `row` must be readable.
  void Run(const uint8_t* row, uint8_t* out) const;

 private:
  static constexpr int kOutputsAtOnce = 4;

  // Weights 0 and 1, four times, then weights 2 and 3, four times.
  struct alignas(64) SpreadWeights {
    int16_t high[16];
    int16_t low[16];
  };

  void Avx2(const uint8_t* row, uint8_t* out) const;
  void Avx2Blocks(const uint8_t* row, int blocks, uint8_t* out) const;

  const Axis& axis_;
  const bool avx2_;
  // For AVX2 only. The number of outputs is rounded up to a multiple of four.
  int blocks_ = 0;                      // Blocks of taps per output.
  std::vector<int> first_;              // Byte offset of each output's first tap.
  std::vector<SpreadWeights> weights_;  // [outputs / 4][blocks][4]
};

// The vertical pass, prepared once for an image.
class VerticalPass {
 public:
  VerticalPass(const Axis& axis, ResampleKernels kernels);

  // Computes row `y` of the output, `length` bytes, from its input rows. `rows` has one pointer per tap of
  // the axis, rounded up to a multiple of kTapsAtOnce.
  void Run(int y, const uint8_t* const* rows, size_t length, uint8_t* out) const;

 private:
  void Avx2(int y, const uint8_t* const* rows, size_t length, uint8_t* out) const;

  const Axis& axis_;
  const bool avx2_;
  int blocks_ = 0;                     // As in HorizontalPass.
  std::vector<SplitWeights> weights_;  // [outputs][blocks]
};

}  // namespace repvgg
