// AVX-512 BF16, for processors without AMX: fp32 sums of 8 positions x 32 output channels in registers. Each
// instruction multiplies 16 pairs and accumulates both products.
#include "cpu/bf16_kernels.h"

#ifdef __AVX512BF16__

#include "cpu/bf16_avx512_impl.h"

namespace repvgg::cpu {
namespace {

constexpr int kTogether = 8;  // Positions.

void Begin() {}
void End(Bf16Waiting&) {}

inline void AddProducts(const Bf16* line, const Bf16* weight, __m512 (&sums)[kTogether][2]) {
  for (int pair = 0; pair < kLine / 2; ++pair) {
    const __m512bh low = (__m512bh)_mm512_loadu_si512(weight + pair * kLine);
    const __m512bh high = (__m512bh)_mm512_loadu_si512(weight + kLine * kHalf + pair * kLine);
    for (int p = 0; p < kTogether; ++p) {
      int bits;
      __builtin_memcpy(&bits, line + p * kLine + pair * 2, sizeof bits);
      const __m512bh value = (__m512bh)_mm512_set1_epi32(bits);
      sums[p][0] = _mm512_dpbf16_ps(sums[p][0], value, low);
      sums[p][1] = _mm512_dpbf16_ps(sums[p][1], value, high);
    }
  }
}

void Convolve(const Bf16Convolution& convolution, const Bf16Block& block, const Bf16* in, Bf16* out,
              const int* to, const Bf16* fetch, int fetched, Bf16Waiting&) {
  for (int i = 0; i < fetched; ++i)
    _mm_prefetch(reinterpret_cast<const char*>(fetch + static_cast<ptrdiff_t>(i) * kLine), _MM_HINT_T1);
  const Line bias = {_mm512_loadu_ps(block.bias), _mm512_loadu_ps(block.bias + kHalf)};
  for (int first = 0; first < kBf16Positions; first += kTogether) {
    __m512 sums[kTogether][2];
    for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
    const Bf16* weight = block.weight;
    for (int b = 0; b < block.in_blocks; ++b) {
      for (int tap = 0; tap < convolution.taps; ++tap) {
        const Bf16* line =
            in + b * convolution.in_block + static_cast<ptrdiff_t>(first + convolution.tap_line[tap]) * kLine;
        AddProducts(line, weight, sums);
        if (convolution.in_parts == 2) AddProducts(line + convolution.in_part, weight, sums);
        weight += kBf16TapWeights;
        if (convolution.weight_parts == 1) continue;
        AddProducts(line, weight, sums);
        weight += kBf16TapWeights;
      }
    }
    for (int p = 0; p < kTogether; ++p)
      StoreSums(convolution, {sums[p][0], sums[p][1]}, bias, out, to[first + p]);
  }
}

constexpr Bf16Kernels kTable = {"avx512bf16",       &Begin,     &End,     &Convolve,
                                &SubtractFromBytes, &GateLines, &SumLines};

}  // namespace

const Bf16Kernels* const kAvx512Bf16Kernels = &kTable;

}  // namespace repvgg::cpu

#else

namespace repvgg::cpu {
const Bf16Kernels* const kAvx512Bf16Kernels = nullptr;
}

#endif
