// bfloat16 convolution kernels that accumulate in fp32, with AMX (bf16_amx.cc) or with AVX-512's dot-product
// instruction (bf16_avx512.cc). bf16_maps.h describes the layout of the maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cpu/bf16.h"

namespace repvgg::cpu {

constexpr int kBf16Positions = 32;        // Per call at most: with AMX two tiles of 16.
constexpr int kBf16TapWeights = 32 * 32;  // Per tap, block of input channels and block of output channels.

// One layer. Weights may have two parts as maps may (bf16_maps.h); the product of both second parts is left
// out. Output position p reads, for each tap, the line p + tap of each block of input channels; there
// are positions between the rows of an output map too, whose results are dropped.
struct Bf16Convolution {
  int taps = 0;
  int tap_line[9];
  ptrdiff_t in_block = 0;  // Elements from a block of input channels to the next,
  ptrdiff_t in_part = 0;   // and from the first part to the second.
  int in_parts = 1;
  int weight_parts = 1;
  ptrdiff_t out_part = 0;
  int out_parts = 1;
  bool relu = false;
};

// One block of output channels.
struct Bf16Block {
  int in_blocks = 0;      // Blocks of input channels that it reads.
  int last_channels = 0;  // Channels of the last of them; the other weights are zeros.
  int channels = 0;       // Less than 32 in a last block; the other values become zero.

  // [block of input channels][tap][part][half of the block: 16 channels][pair of input channels: 16]
  // [channel: 16][channel of the pair: 2]
  const Bf16* weight = nullptr;
  const float* bias = nullptr;  // [32]
};

// The positions of a call: `columns` that follow each other from `first` on, in each of `rows` rows that are
// `pitch` positions apart.
struct Bf16Positions {
  int first = 0;
  int columns = 0;
  int rows = 1;
  int pitch = 0;
};

// A thread's sums of the latest call, to be stored by the next call or by `end`.
struct Bf16Waiting {
  alignas(64) float sums[2][kBf16Positions][32];
  int buffer = 0;             // The buffer with the sums,
  int line = kBf16Positions;  // which are stored up to this position.
  const Bf16Convolution* convolution = nullptr;
  const float* bias = nullptr;
  Bf16* out = nullptr;
  const int* to = nullptr;
};

struct Bf16Kernels {
  const char* name;

  // The most positions of a call, which are pixels of one row of the output or as many of two rows. 0: each
  // call has kBf16Positions in a row, which may span the end of a row.
  int most_pixels;

  // A thread calls these before and after its calls of `convolve`; all results are stored after `end`.
  void (*begin)();
  void (*end)(Bf16Waiting& waiting);

  // Computes `positions` of one block. `in` is the line of position 0 in the first block of input channels;
  // `to` has for each position of an image its line of `out`, or -1 where the result is to be dropped.
  // Prefetches `fetched` lines from `fetch` on into the L2 cache.
  void (*convolve)(const Bf16Convolution& convolution, const Bf16Block& block, const Bf16Positions& positions,
                   const Bf16* in, Bf16* out, const int* to, const Bf16* fetch, int fetched,
                   Bf16Waiting& waiting);

  // lines[i] = bytes[i] - middle, exact where the difference is a whole number of 8 bits. [count][32], with
  // zeros for values of a line that are not among the first `used`, at least 16.
  void (*subtract)(const uint8_t* bytes, const float* middle, int used, int count, Bf16* lines);

  // The following process lines of one block of channels; `second` is their second part, or null.
  // line = relu(line * gate), gate[32]
  void (*gate)(Bf16* lines, Bf16* second, const float* gate, int count, bool relu);
  // sum[32] += line, for each line
  void (*sum)(const Bf16* lines, const Bf16* second, int count, float* sum);
};

// Null where the compiler cannot target the instructions.
extern const Bf16Kernels* const kAmxKernels;
extern const Bf16Kernels* const kAvx512Bf16Kernels;

// The named kernels ("amx", "avx512bf16"), or the best for an empty name; null where the processor or the
// system lacks them.
const Bf16Kernels* SelectBf16Kernels(const std::string& name);

}  // namespace repvgg::cpu
