// AMX: 2 x 2 tiles of sums. Each step loads two tiles of pixels and two of weights, 64 bytes a row, and
// multiplies each pair: 4 multiplications of as many cycles as a tile has rows for 4 loads of at least 8.
#include "cpu/bf16_kernels.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

#include "cpu/bf16_avx512_impl.h"

namespace repvgg::cpu {
namespace {

// Tiles 0 to 3 hold sums [row of pixels][half of the block], 4 and 5 pixels, 6 and 7 weights.
struct alignas(64) TileConfig {
  unsigned char palette = 1;
  unsigned char start_row = 0;
  unsigned char reserved[14] = {};
  unsigned short row_bytes[16] = {};
  unsigned char rows[16] = {};
};

constexpr int kMostPixels = 16;
constexpr int kHalf = 16;  // Output channels of one tile.

void Begin(int pixels) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = 64;
    config.rows[tile] = static_cast<unsigned char>(tile < 6 ? pixels : 16);
  }
  // GCC 12 believes that the instruction reads 8 bytes only, and would drop the stores of the rest.
  __asm__ volatile("" : : "m"(config) : "memory");
  _tile_loadconfig(&config);
}

void End() { _tile_release(); }

void StoreSums(const float (*sums)[kHalf], const float* bias, Bf16* out, int out_channels, int pixels,
               int channels, bool relu) {
  const __m512 b = _mm512_loadu_ps(bias);
  for (int p = 0; p < pixels; ++p) {
    StoreBf16(out + static_cast<ptrdiff_t>(p) * out_channels, _mm512_add_ps(_mm512_load_ps(sums[p]), b),
              channels, relu);
  }
}

void Convolve(const Bf16Convolution& convolution, ptrdiff_t in_row, int group, int block,
              const Pixels<Bf16>& first, const Pixels<Bf16>& second, int pixels, bool relu) {
  const ptrdiff_t pixel_bytes =
      static_cast<ptrdiff_t>(convolution.stride) * convolution.in_channels * sizeof(Bf16);
  const ptrdiff_t index = static_cast<ptrdiff_t>(group) * convolution.blocks + block;
  const Bf16* weight = convolution.weight + index * convolution.steps * kBf16Step * kBf16BlockWidth;
  const float* bias = convolution.bias + index * kBf16BlockWidth;
  const int channel = block * kBf16BlockWidth;
  const int channels = convolution.group_out - channel;
  const ptrdiff_t group_offset = static_cast<ptrdiff_t>(group) * convolution.group_in;
  const bool two_rows = second.in != nullptr;
  const bool two_halves = channels > kHalf;

  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int s = 0; s < convolution.steps; ++s, weight += kBf16Step * kBf16BlockWidth) {
    const ptrdiff_t offset = convolution.step[s].row * in_row + convolution.step[s].offset + group_offset;
    _tile_loadd(4, first.in + offset, pixel_bytes);
    _tile_loadd(6, weight, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (two_halves) {
      _tile_loadd(7, weight + kBf16Step * kHalf, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (two_rows) {
      _tile_loadd(5, second.in + offset, pixel_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if (two_halves) _tile_dpbf16ps(3, 5, 7);
    }
  }

  alignas(64) float sums[kMostPixels][kHalf];
  const int out_channels = convolution.out_channels;
  const ptrdiff_t out_offset = static_cast<ptrdiff_t>(group) * convolution.group_out + channel;
  _tile_stored(0, sums, 64);
  StoreSums(sums, bias, first.out + out_offset, out_channels, pixels, channels, relu);
  if (two_halves) {
    _tile_stored(1, sums, 64);
    StoreSums(sums, bias + kHalf, first.out + out_offset + kHalf, out_channels, pixels, channels - kHalf,
              relu);
  }
  if (!two_rows) return;
  _tile_stored(2, sums, 64);
  StoreSums(sums, bias, second.out + out_offset, out_channels, pixels, channels, relu);
  if (two_halves) {
    _tile_stored(3, sums, 64);
    StoreSums(sums, bias + kHalf, second.out + out_offset + kHalf, out_channels, pixels, channels - kHalf,
              relu);
  }
}

constexpr Bf16Kernels kTable = {"amx", kMostPixels, &Begin, &End, &Convolve, {&GateBf16, &SumPixelsBf16}};

}  // namespace

const Bf16Kernels* const kAmxKernels = &kTable;

}  // namespace repvgg::cpu

#else

namespace repvgg::cpu {
const Bf16Kernels* const kAmxKernels = nullptr;
}

#endif
