// AVX-512 BF16: a tile of 14 pixels x 32 output channels of fp32 sums in registers; each instruction
// multiplies 16 pairs and adds both products. For processors without AMX.
#include "cpu/bf16_kernels.h"

#ifdef __AVX512BF16__

#include "cpu/bf16_avx512_impl.h"

namespace repvgg::cpu {
namespace {

constexpr int kMostPixels = 14;
constexpr int kHalf = 16;

void Begin(int) {}
void End() {}

template <int kPixels>
struct ConvolvePixels {
  static void Run(const Bf16Convolution& convolution, ptrdiff_t in_row, int group, int block,
                  const Pixels<Bf16>& pixels, bool relu) {
    const ptrdiff_t pixel = static_cast<ptrdiff_t>(convolution.stride) * convolution.in_channels;
    const ptrdiff_t index = static_cast<ptrdiff_t>(group) * convolution.blocks + block;
    const Bf16* weight = convolution.weight + index * convolution.steps * kBf16Step * kBf16BlockWidth;
    const float* bias = convolution.bias + index * kBf16BlockWidth;
    const int channel = block * kBf16BlockWidth;
    const int channels = convolution.group_out - channel;
    __m512 sum[kPixels][2];
    for (int p = 0; p < kPixels; ++p) {
      for (int half = 0; half < 2; ++half) sum[p][half] = _mm512_loadu_ps(bias + half * kHalf);
    }
    for (int s = 0; s < convolution.steps; ++s, weight += kBf16Step * kBf16BlockWidth) {
      const Bf16* in = pixels.in + convolution.step[s].row * in_row + convolution.step[s].offset +
                       static_cast<ptrdiff_t>(group) * convolution.group_in;
      for (int pair = 0; pair < kBf16Step / 2; ++pair) {
        const Bf16* w = weight + pair * 2 * kHalf;
        const __m512bh low = (__m512bh)_mm512_loadu_si512(w);
        const __m512bh high = (__m512bh)_mm512_loadu_si512(w + kBf16Step * kHalf);
        for (int p = 0; p < kPixels; ++p) {
          int bits;
          __builtin_memcpy(&bits, in + p * pixel + pair * 2, sizeof bits);
          const __m512bh value = (__m512bh)_mm512_set1_epi32(bits);
          sum[p][0] = _mm512_dpbf16_ps(sum[p][0], value, low);
          sum[p][1] = _mm512_dpbf16_ps(sum[p][1], value, high);
        }
      }
    }
    Bf16* out = pixels.out + static_cast<ptrdiff_t>(group) * convolution.group_out + channel;
    for (int p = 0; p < kPixels; ++p, out += convolution.out_channels) {
      StoreBf16(out, sum[p][0], channels, relu);
      if (channels > kHalf) StoreBf16(out + kHalf, sum[p][1], channels - kHalf, relu);
    }
  }
};

template <int kPixels>
void RunPixels(int pixels, const Bf16Convolution& convolution, ptrdiff_t in_row, int group, int block,
               const Pixels<Bf16>& row, bool relu) {
  if (pixels == kPixels) {
    ConvolvePixels<kPixels>::Run(convolution, in_row, group, block, row, relu);
  } else if constexpr (kPixels > 1) {
    RunPixels<kPixels - 1>(pixels, convolution, in_row, group, block, row, relu);
  }
}

void Convolve(const Bf16Convolution& convolution, ptrdiff_t in_row, int group, int block,
              const Pixels<Bf16>& first, const Pixels<Bf16>& second, int pixels, bool relu) {
  RunPixels<kMostPixels>(pixels, convolution, in_row, group, block, first, relu);
  if (second.in != nullptr) RunPixels<kMostPixels>(pixels, convolution, in_row, group, block, second, relu);
}

constexpr Bf16Kernels kTable = {"avx512bf16", kMostPixels, &Begin,
                                &End,         &Convolve,   {&GateBf16, &SumPixelsBf16}};

}  // namespace

const Bf16Kernels* const kAvx512Bf16Kernels = &kTable;

}  // namespace repvgg::cpu

#else

namespace repvgg::cpu {
const Bf16Kernels* const kAvx512Bf16Kernels = nullptr;
}

#endif
