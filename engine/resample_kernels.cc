#include "engine/resample_kernels.h"

#include <algorithm>
#include <cstring>

#include "engine/row_source.h"

#ifdef __x86_64__
#include <immintrin.h>
#define REPVGG_AVX2 __attribute__((target("avx2")))
#endif

namespace repvgg {
namespace {

uint8_t Round(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

void HorizontalPortable(const uint8_t* row, const Axis& axis, uint8_t* out) {
  for (int x = 0; x < axis.outputs(); ++x) {
    const uint8_t* from = row + static_cast<size_t>(axis.first[x]) * kChannels;
    const int32_t* weights = axis.WeightsOf(x);
    int32_t sum[kChannels] = {kHalf, kHalf, kHalf};
    for (int k = 0; k < axis.count[x]; ++k) {
      for (int c = 0; c < kChannels; ++c) sum[c] += from[k * kChannels + c] * weights[k];
    }
    for (int c = 0; c < kChannels; ++c) *out++ = Round(sum[c]);
  }
}

void VerticalPortable(const uint8_t* const* rows, size_t length, const int32_t* weights, int count,
                      uint8_t* out) {
  for (size_t x = 0; x < length; ++x) {
    int32_t sum = kHalf;
    for (int k = 0; k < count; ++k) sum += rows[k][x] * weights[k];
    out[x] = Round(sum);
  }
}

bool UsesAvx2(const Axis& axis, ResampleKernels kernels) {
#ifdef __x86_64__
  return kernels == ResampleKernels::kFastest && !axis.identity && __builtin_cpu_supports("avx2");
#else
  return false;
#endif
}

#ifdef __x86_64__

int BlocksOf(const Axis& axis) { return (axis.taps + kTapsAtOnce - 1) / kTapsAtOnce; }

// 16-bit multiply-adds cost half as much as 32-bit ones. The sums over both halves add up to the exact sum
// modulo 2^32, and that fits 32 bits. 255 * weight does too, so `high` fits 16.
int16_t High(int32_t weight) { return static_cast<int16_t>(weight >> SplitWeights::kLowBits); }
int16_t Low(int32_t weight) { return static_cast<int16_t>(weight & ((1 << SplitWeights::kLowBits) - 1)); }

REPVGG_AVX2 inline __m256i Load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

// Broadcasts the weights of two taps to all pairs of words.
REPVGG_AVX2 inline __m256i LoadPair(const int16_t* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  return _mm256_set1_epi32(pair);
}

REPVGG_AVX2 inline __m256i Join(__m256i high, __m256i low) {
  return _mm256_add_epi32(_mm256_slli_epi32(high, SplitWeights::kLowBits), low);
}

REPVGG_AVX2 inline __m256i Round(__m256i sum) {
  return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(kHalf)), kPrecisionBits);
}

// Adds the 128-bit halves of each vector; the result has those of `a`, then those of `b`.
REPVGG_AVX2 inline __m256i AddHalves(__m256i a, __m256i b) {
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

#endif

}  // namespace

HorizontalPass::HorizontalPass(const Axis& axis, ResampleKernels kernels)
    : axis_(axis), avx2_(UsesAvx2(axis, kernels)) {
#ifdef __x86_64__
  if (!avx2_) return;
  const int outputs = axis.outputs();
  blocks_ = BlocksOf(axis);
  first_.assign((outputs + kOutputsAtOnce - 1) / kOutputsAtOnce * kOutputsAtOnce, 0);
  weights_.assign(first_.size() * blocks_, SpreadWeights{});
  // Near the end of the row, blocks start earlier, with zero weights in front, so that they end within it.
  // Only a row shorter than a block is overrun, by up to 3 pixels; a register is 4 bytes longer than a block.
  static_assert((kTapsAtOnce - 1) * kChannels + 4 <= RowSource::kReadableBeyond);
  const int last = std::max(0, axis.end - axis.begin - blocks_ * kTapsAtOnce);
  for (int x = 0; x < outputs; ++x) {
    const int first = std::min(axis.first[x], last);
    first_[x] = first * kChannels;
    for (int k = 0; k < axis.count[x]; ++k) {
      const int32_t weight = axis.WeightsOf(x)[k];
      const int tap = axis.first[x] - first + k;
      const int group = x / kOutputsAtOnce * blocks_ + tap / kTapsAtOnce;
      SpreadWeights& block = weights_[group * kOutputsAtOnce + x % kOutputsAtOnce];
      for (int copy = 0; copy < 4; ++copy) {
        const int at = tap % kTapsAtOnce / 2 * 8 + copy * 2 + tap % 2;
        block.high[at] = High(weight);
        block.low[at] = Low(weight);
      }
    }
  }
#endif
}

void HorizontalPass::Run(const uint8_t* row, uint8_t* out) const {
  if (axis_.identity) {
    std::memcpy(out, row, static_cast<size_t>(axis_.outputs()) * kChannels);
#ifdef __x86_64__
  } else if (avx2_) {
    Avx2(row, out);
#endif
  } else {
    HorizontalPortable(row, axis_, out);
  }
}

VerticalPass::VerticalPass(const Axis& axis, ResampleKernels kernels)
    : axis_(axis), avx2_(UsesAvx2(axis, kernels)) {
#ifdef __x86_64__
  if (!avx2_) return;
  blocks_ = BlocksOf(axis);
  weights_.assign(static_cast<size_t>(axis.outputs()) * blocks_, SplitWeights{});
  for (int y = 0; y < axis.outputs(); ++y) {
    for (int k = 0; k < axis.count[y]; ++k) {
      SplitWeights& block = weights_[y * blocks_ + k / kTapsAtOnce];
      block.high[k % kTapsAtOnce] = High(axis.WeightsOf(y)[k]);
      block.low[k % kTapsAtOnce] = Low(axis.WeightsOf(y)[k]);
    }
  }
#endif
}

void VerticalPass::Run(int y, const uint8_t* const* rows, size_t length, uint8_t* out) const {
  if (axis_.identity) {
    std::memcpy(out, rows[0], length);
#ifdef __x86_64__
  } else if (avx2_) {
    Avx2(y, rows, length, out);
#endif
  } else {
    VerticalPortable(rows, length, axis_.WeightsOf(y), axis_.count[y], out);
  }
}

#ifdef __x86_64__

// A single block suffices for bilinear scales down to one half, the most common case: compiled without a
// loop.
REPVGG_AVX2 void HorizontalPass::Avx2(const uint8_t* row, uint8_t* out) const {
  if (blocks_ == 1) {
    Avx2Blocks(row, 1, out);
  } else {
    Avx2Blocks(row, blocks_, out);
  }
}

REPVGG_AVX2 __attribute__((always_inline)) inline void HorizontalPass::Avx2Blocks(const uint8_t* row,
                                                                                  int blocks,
                                                                                  uint8_t* out) const {
  // Widens the bytes of four pixels to words: r0 r1 g0 g1 b0 b1 0 0, then the same for pixels 2 and 3.
  const __m256i spread = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                                          6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  // Packs pixels of four bytes to pixels of three.
  const __m256i close =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  const SpreadWeights* weights = weights_.data();
  for (size_t x = 0; x < first_.size(); x += kOutputsAtOnce) {
    __m256i high[kOutputsAtOnce] = {};
    __m256i low[kOutputsAtOnce] = {};
    const uint8_t* block = row;
    for (int i = 0; i < blocks; ++i, block += kTapsAtOnce * kChannels) {
#pragma GCC unroll 4
      for (int output = 0; output < kOutputsAtOnce; ++output, ++weights) {
        const auto* from = reinterpret_cast<const __m128i*>(block + first_[x + output]);
        const __m256i words = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(from)), spread);
        high[output] = _mm256_add_epi32(high[output], _mm256_madd_epi16(words, Load(weights->high)));
        low[output] = _mm256_add_epi32(low[output], _mm256_madd_epi16(words, Load(weights->low)));
      }
    }
    const __m256i outputs02 = AddHalves(Join(high[0], low[0]), Join(high[2], low[2]));
    const __m256i outputs13 = AddHalves(Join(high[1], low[1]), Join(high[3], low[3]));
    const __m256i words = _mm256_packs_epi32(Round(outputs02), Round(outputs13));
    const __m256i pixels = _mm256_shuffle_epi8(_mm256_packus_epi16(words, words), close);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(pixels));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 2 * kChannels), _mm256_extracti128_si256(pixels, 1));
    out += kOutputsAtOnce * kChannels;
  }
}

REPVGG_AVX2 void VerticalPass::Avx2(int y, const uint8_t* const* rows, size_t length, uint8_t* out) const {
  const __m256i zero = _mm256_setzero_si256();
  const SplitWeights* weights = &weights_[static_cast<size_t>(y) * blocks_];
  for (size_t x = 0; x < length; x += sizeof(__m256i)) {
    __m256i high[4] = {};
    __m256i low[4] = {};
    for (int k = 0; k < blocks_ * kTapsAtOnce; k += 2) {
      const __m256i a = Load(rows[k] + x);
      const __m256i b = Load(rows[k + 1] + x);
      const __m256i ab[2] = {_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
      const __m256i high_weights = LoadPair(weights[k / kTapsAtOnce].high + k % kTapsAtOnce);
      const __m256i low_weights = LoadPair(weights[k / kTapsAtOnce].low + k % kTapsAtOnce);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m256i words =
            i % 2 == 0 ? _mm256_unpacklo_epi8(ab[i / 2], zero) : _mm256_unpackhi_epi8(ab[i / 2], zero);
        high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(words, high_weights));
        low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(words, low_weights));
      }
    }
    const __m256i words01 = _mm256_packs_epi32(Round(Join(high[0], low[0])), Round(Join(high[1], low[1])));
    const __m256i words23 = _mm256_packs_epi32(Round(Join(high[2], low[2])), Round(Join(high[3], low[3])));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x), _mm256_packus_epi16(words01, words23));
  }
}

#endif

}  // namespace repvgg
