// Code shared by both bf16 kernels, compiled for AVX-512 BF16. Like kernels_impl.h, all in an unnamed
// namespace and without calls to inline functions from elsewhere.
#pragma once

#include <immintrin.h>

#include "cpu/bf16_kernels.h"

namespace repvgg::cpu {
namespace {

constexpr int kLine = 32;  // Values, in two vectors of floats.
constexpr int kHalf = 16;

struct Line {
  __m512 low, high;
};

inline __m512 Widen(__m256i values) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16));
}

inline Line LoadLine(const Bf16* from) {
  const __m512i values = _mm512_loadu_si512(from);
  return {Widen(_mm512_castsi512_si256(values)), Widen(_mm512_extracti64x4_epi64(values, 1))};
}

inline Line LoadParts(const Bf16* first, const Bf16* second) {
  const Line line = LoadLine(first);
  if (second == nullptr) return line;
  const Line rest = LoadLine(second);
  return {_mm512_add_ps(line.low, rest.low), _mm512_add_ps(line.high, rest.high)};
}

inline __m512i Round(const Line& line) { return (__m512i)_mm512_cvtne2ps_pbh(line.high, line.low); }

// Stores a line in one part, or in two where `second` is not null.
inline void StoreParts(Bf16* first, Bf16* second, const Line& line) {
  const __m512i rounded = Round(line);
  _mm512_storeu_si512(first, rounded);
  if (second == nullptr) return;
  const Line rest = {_mm512_sub_ps(line.low, Widen(_mm512_castsi512_si256(rounded))),
                     _mm512_sub_ps(line.high, Widen(_mm512_extracti64x4_epi64(rounded, 1)))};
  _mm512_storeu_si512(second, Round(rest));
}

// NaN stays NaN.
inline Line Relu(const Line& line) {
  const __m512 zero = _mm512_setzero_ps();
  return {_mm512_max_ps(zero, line.low), _mm512_max_ps(zero, line.high)};
}

// Adds the bias to the sums of one position and stores them in line `to`, if there is one.
inline void StoreSums(const Bf16Convolution& convolution, Line sums, const Line& bias, Bf16* out, int to) {
  if (to < 0) return;
  sums = {_mm512_add_ps(sums.low, bias.low), _mm512_add_ps(sums.high, bias.high)};
  if (convolution.relu) sums = Relu(sums);
  Bf16* const line = out + static_cast<ptrdiff_t>(to) * kLine;
  StoreParts(line, convolution.out_parts == 2 ? line + convolution.out_part : nullptr, sums);
}

void SubtractFromBytes(const unsigned char* bytes, const float* middle, int used, int count, Bf16* lines) {
  const __m512 low = _mm512_loadu_ps(middle), high = _mm512_loadu_ps(middle + kHalf);
  const __mmask16 mask = static_cast<__mmask16>((1u << (used - kHalf)) - 1);
  for (int i = 0; i < count; ++i, bytes += kLine, lines += kLine) {
    const auto load = [&](int at) {
      return _mm512_cvtepi32_ps(
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + at))));
    };
    _mm512_storeu_si512(lines,
                        Round({_mm512_sub_ps(load(0), low), _mm512_maskz_sub_ps(mask, load(kHalf), high)}));
  }
}

void GateLines(Bf16* lines, Bf16* second, const float* gate, int count, bool relu) {
  const __m512 low = _mm512_loadu_ps(gate), high = _mm512_loadu_ps(gate + kHalf);
  for (int i = 0; i < count; ++i, lines += kLine) {
    Line line = LoadParts(lines, second);
    line = {_mm512_mul_ps(line.low, low), _mm512_mul_ps(line.high, high)};
    if (relu) line = Relu(line);
    StoreParts(lines, second, line);
    if (second != nullptr) second += kLine;
  }
}

void SumLines(const Bf16* lines, const Bf16* second, int count, float* sum) {
  __m512 low = _mm512_loadu_ps(sum), high = _mm512_loadu_ps(sum + kHalf);
  for (int i = 0; i < count; ++i, lines += kLine) {
    const Line line = LoadParts(lines, second);
    low = _mm512_add_ps(low, line.low);
    high = _mm512_add_ps(high, line.high);
    if (second != nullptr) second += kLine;
  }
  _mm512_storeu_ps(sum, low);
  _mm512_storeu_ps(sum + kHalf, high);
}

}  // namespace
}  // namespace repvgg::cpu
