// AVX-512 BF16, for processors without AMX: fp32 sums of up to 14 positions x 32 output channels in
// registers. Each instruction multiplies 16 pairs and accumulates both products.
#include "cpu/bf16_kernels.h"

#ifdef __AVX512BF16__

#include <utility>

#include "cpu/bf16_avx512_impl.h"

namespace repvgg::cpu {
namespace {

// With two vectors of weights and a broadcast pair, 28 sums take 31 of the 32 registers.
constexpr int kMostPixels = 14;

void Begin() {}
void End(Bf16Waiting&) {}

// The lines that a step fetches, until there are no more.
struct Fetch {
  const Bf16* line;
  const Bf16* end;
  int a_step;
};

// kRows rows of kColumns positions, and the first kHalves x 16 channels of a block of output channels.
template <int kRows, int kColumns, int kHalves>
struct Tile {
  // The sums are a variable of this function, and their products in a single place: passed on, or with a
  // second place, GCC keeps them in memory.
  static void Convolve(const Bf16Convolution& convolution, const Bf16Block& block, ptrdiff_t row,
                       const Bf16* in, Fetch fetch, Line* results) {
    constexpr int kPositions = kRows * kColumns;
    __m512 sums[kPositions][kHalves];
    for (auto& sum : sums) {
      for (__m512& half : sum) half = _mm512_setzero_ps();
    }
    const Bf16* weight = block.weight;
    for (int b = 0; b < block.in_blocks; ++b, in += convolution.in_block) {
      const int pairs = b + 1 < block.in_blocks ? kLine / 2 : (block.last_channels + 1) / 2;
      for (int tap = 0; tap < convolution.taps; ++tap) {
        for (int weight_part = 0; weight_part < convolution.weight_parts; ++weight_part) {
          for (int i = 0; i < fetch.a_step && fetch.line < fetch.end; ++i, fetch.line += kLine)
            _mm_prefetch(reinterpret_cast<const char*>(fetch.line), _MM_HINT_T1);
          const Bf16* line = in + static_cast<ptrdiff_t>(convolution.tap_line[tap]) * kLine;
          const int in_parts = weight_part == 0 ? convolution.in_parts : 1;
          for (int part = 0; part < in_parts; ++part, line += convolution.in_part) {
            for (int pair = 0; pair < pairs; ++pair) {
              __m512bh weights[kHalves];
              for (int half = 0; half < kHalves; ++half)
                weights[half] = (__m512bh)_mm512_loadu_si512(weight + half * kLine * kHalf + pair * kLine);
#pragma GCC unroll 14
              for (int p = 0; p < kPositions; ++p) {
                int bits;
                __builtin_memcpy(&bits, line + p / kColumns * row + p % kColumns * kLine + pair * 2,
                                 sizeof bits);
                const __m512bh value = (__m512bh)_mm512_set1_epi32(bits);
                for (int half = 0; half < kHalves; ++half)
                  sums[p][half] = _mm512_dpbf16_ps(sums[p][half], value, weights[half]);
              }
            }
          }
          weight += kBf16TapWeights;
        }
      }
    }
    for (int p = 0; p < kPositions; ++p)
      results[p] = {sums[p][0], kHalves == 2 ? sums[p][kHalves - 1] : _mm512_setzero_ps()};
  }
};

// Tile<kRows, n, kHalves> for each number of columns n, from 1 on.
template <int kRows, int kHalves, class Columns = std::make_integer_sequence<int, kMostPixels / kRows>>
struct Tiles;
template <int kRows, int kHalves, int... kColumns>
struct Tiles<kRows, kHalves, std::integer_sequence<int, kColumns...>> {
  static constexpr decltype(&Tile<kRows, 1, kHalves>::Convolve) kOf[] = {
      Tile<kRows, kColumns + 1, kHalves>::Convolve...};
};

void Convolve(const Bf16Convolution& convolution, const Bf16Block& block, const Bf16Positions& positions,
              const Bf16* in, Bf16* out, const int* to, const Bf16* fetch, int fetched, Bf16Waiting&) {
  const int column = positions.columns - 1;
  const bool two_halves = block.channels > kHalf;
  const auto tile = positions.rows == 2 ? (two_halves ? Tiles<2, 2>::kOf[column] : Tiles<2, 1>::kOf[column])
                                        : (two_halves ? Tiles<1, 2>::kOf[column] : Tiles<1, 1>::kOf[column]);
  const int steps = block.in_blocks * convolution.taps * convolution.weight_parts;
  Line results[kMostPixels];
  tile(convolution, block, static_cast<ptrdiff_t>(positions.pitch) * kLine,
       in + static_cast<ptrdiff_t>(positions.first) * kLine,
       {fetch, fetch + static_cast<ptrdiff_t>(fetched) * kLine, (fetched + steps - 1) / steps}, results);

  const Line bias = {_mm512_loadu_ps(block.bias), _mm512_loadu_ps(block.bias + kHalf)};
  const Line* sums = results;
  to += positions.first;
  for (int row = 0; row < positions.rows; ++row, to += positions.pitch) {
    for (int i = 0; i < positions.columns; ++i, ++sums) StoreSums(convolution, *sums, bias, out, to[i]);
  }
}

constexpr Bf16Kernels kTable = {"avx512bf16", kMostPixels,        &Begin,     &End,
                                &Convolve,    &SubtractFromBytes, &GateLines, &SumLines};

}  // namespace

const Bf16Kernels* const kAvx512Bf16Kernels = &kTable;

}  // namespace repvgg::cpu

#else

namespace repvgg::cpu {
const Bf16Kernels* const kAvx512Bf16Kernels = nullptr;
}

#endif
