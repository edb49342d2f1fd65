// What both bf16 kernels share, compiled for AVX-512 BF16. Under the rules of kernels_impl.h: unnamed
// namespace, no inline functions of others.
#pragma once

#include <immintrin.h>

#include "cpu/bf16_kernels.h"

namespace repvgg::cpu {
namespace {

inline __m512 LoadBf16(const Bf16* from) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))), 16));
}

// Stores the first `count` of 16 values, rounded. NaN stays NaN and a negative value becomes 0 with `relu`.
inline void StoreBf16(Bf16* to, __m512 value, int count, bool relu) {
  if (relu)
    value = _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_LT_OQ),
                               _mm512_setzero_ps());
  const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(value);
  const __mmask16 mask = count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
  _mm256_mask_storeu_epi16(to, mask, rounded);
}

void GateBf16(Bf16* data, const float* gate, int channels, int pixels, bool relu) {
  for (int p = 0; p < pixels; ++p, data += channels) {
    for (int c = 0; c < channels; c += 16) {
      const int count = channels - c;
      const __mmask16 mask = count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
      const __m512 value = _mm512_castsi512_ps(
          _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, data + c)), 16));
      StoreBf16(data + c, _mm512_mul_ps(value, _mm512_maskz_loadu_ps(mask, gate + c)), count, relu);
    }
  }
}

void SumPixelsBf16(const Bf16* data, int channels, int pixels, float* sum) {
  for (int p = 0; p < pixels; ++p, data += channels) {
    for (int c = 0; c < channels; c += 16) {
      const int count = channels - c;
      const __mmask16 mask = count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
      const __m512 value = _mm512_castsi512_ps(
          _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, data + c)), 16));
      _mm512_mask_storeu_ps(sum + c, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, sum + c), value));
    }
  }
}

}  // namespace
}  // namespace repvgg::cpu
