// AMX: 2 x 2 accumulator tiles, 2 x 16 positions by 2 x 16 output channels. A step handles 32 input channels
// of one tap: it loads two tiles of lines and two of weights, 16 rows of 64 bytes each, and multiplies every
// pair, which is 4 products of 16 cycles for 4 loads of at least 8 cycles. A product with fewer rows of
// positions would still take 16 cycles, the time to load its weights, so tiles are always full.
//
// The next tap's lines overlap those of the previous step, so most come from the L1 cache. Weights come from
// the L2 cache, 2 KB per step.
//
// Sums leave the tiles through memory. Post-processing them at once would stall the tiles for about 16 steps,
// so the next call does it, interleaved with its products.
#include "cpu/bf16_kernels.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

#include "cpu/amx_tiles.h"
#include "cpu/bf16_avx512_impl.h"

namespace repvgg::cpu {
namespace {

// Tiles 0 to 3 hold sums, [16 positions][16 channels], tiles 4 and 5 lines, tiles 6 and 7 weights.
constexpr int kTilePositions = 16;
constexpr int kLineBytes = kLine * sizeof(Bf16);

void Begin() {
  const TileConfig config;
  __asm__ volatile("" : : "m"(config) : "memory");
  _tile_loadconfig(&config);
}

// Stores up to `most` further lines of the previous call.
inline void StoreWaiting(Bf16Waiting& waiting, int most) {
  const Line bias = {_mm512_loadu_ps(waiting.bias), _mm512_loadu_ps(waiting.bias + kHalf)};
  for (int i = 0; i < most && waiting.line < kBf16Positions; ++i, ++waiting.line) {
    const float* const sums = waiting.sums[waiting.buffer][waiting.line];
    StoreSums(*waiting.convolution, {_mm512_load_ps(sums), _mm512_load_ps(sums + kHalf)}, bias, waiting.out,
              waiting.to[waiting.line]);
  }
}

void End(Bf16Waiting& waiting) {
  if (waiting.convolution != nullptr) StoreWaiting(waiting, kBf16Positions);
  _tile_release();
}

void Convolve(const Bf16Convolution& convolution, const Bf16Block& block, const Bf16Positions& positions,
              const Bf16* in, Bf16* out, const int* to, const Bf16* fetch, int fetched,
              Bf16Waiting& waiting) {
  in += static_cast<ptrdiff_t>(positions.first) * kLine;
  const bool two_halves = block.channels > kHalf;
  const int steps = block.in_blocks * convolution.taps * convolution.weight_parts;
  const int fetched_a_step = (fetched + steps - 1) / steps;
  const int stored_a_step = (kBf16Positions + steps - 1) / steps;
  const Bf16* const fetch_end = fetch + static_cast<ptrdiff_t>(fetched) * kLine;
  const Bf16* weight = block.weight;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int b = 0; b < block.in_blocks; ++b, in += convolution.in_block) {
    for (int tap = 0; tap < convolution.taps; ++tap) {
      for (int weight_part = 0; weight_part < convolution.weight_parts; ++weight_part) {
        for (int i = 0; i < fetched_a_step && fetch < fetch_end; ++i, fetch += kLine)
          _mm_prefetch(reinterpret_cast<const char*>(fetch), _MM_HINT_T1);
        if (waiting.line < kBf16Positions) StoreWaiting(waiting, stored_a_step);
        _tile_loadd(6, weight, kLineBytes);
        if (two_halves) _tile_loadd(7, weight + kLine * kHalf, kLineBytes);
        weight += kBf16TapWeights;
        const Bf16* line = in + static_cast<ptrdiff_t>(convolution.tap_line[tap]) * kLine;
        const int in_parts = weight_part == 0 ? convolution.in_parts : 1;
        for (int part = 0; part < in_parts; ++part, line += convolution.in_part) {
          _tile_loadd(4, line, kLineBytes);
          _tile_loadd(5, line + kTilePositions * kLine, kLineBytes);
          _tile_dpbf16ps(0, 4, 6);
          if (two_halves) _tile_dpbf16ps(1, 4, 7);
          _tile_dpbf16ps(2, 5, 6);
          if (two_halves) _tile_dpbf16ps(3, 5, 7);
        }
      }
    }
  }

  waiting.buffer = 1 - waiting.buffer;
  waiting.line = 0;
  waiting.convolution = &convolution;
  waiting.bias = block.bias;
  waiting.out = out;
  waiting.to = to + positions.first;
  float (*const sums)[kLine] = waiting.sums[waiting.buffer];
  constexpr int kRowBytes = kLine * sizeof(float);
  _tile_stored(0, sums[0], kRowBytes);
  _tile_stored(1, sums[0] + kHalf, kRowBytes);
  _tile_stored(2, sums[kTilePositions], kRowBytes);
  _tile_stored(3, sums[kTilePositions] + kHalf, kRowBytes);
}

constexpr Bf16Kernels kTable = {"amx", 0, &Begin, &End, &Convolve, &SubtractFromBytes, &GateLines, &SumLines};

}  // namespace

const Bf16Kernels* const kAmxKernels = &kTable;

}  // namespace repvgg::cpu

#else

namespace repvgg::cpu {
const Bf16Kernels* const kAmxKernels = nullptr;
}

#endif
