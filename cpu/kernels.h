// The fp32 inner loops, behind a table of functions: kernels_impl.h is compiled once per instruction set, and
// SelectKernels selects a table at run time.
//
// Layout of activations: NHWC with a border of one zero pixel around every map, [height + 2][width +
// 2][channels]. A 3x3 window with padding 1 then never leaves the map, and edges need no special case.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace repvgg::cpu {

// A contiguous run of values of a window, relative to the centre pixel: rows below it, floats behind its
// first channel.
struct WindowRun {
  int row = 0;
  int offset = 0;
};

// Plain data, like all arguments of kernels: their sources must not call inline functions (see
// kernels_impl.h).
struct ConvolutionShape {
  int in_channels = 0;
  int out_channels = 0;
  int stride = 1;
  int groups = 1;
  int group_in = 0;  // Channels of one group.
  int group_out = 0;
  int block_width = 0;  // Output channels computed at a time.
  int blocks = 0;       // Blocks of output channels per group, the last one padded with zeros.
};

ConvolutionShape MakeConvolutionShape(int in_channels, int out_channels, int stride, int groups,
                                      int block_width);

// A convolution of 9 taps (3x3, padding 1) or 1 tap (1x1, padding 0).
//
// The channels of horizontally adjacent pixels are contiguous, so a row of a 3x3 window is one run of 3 *
// in_channels floats. A grouped convolution has a run of group_in floats per tap.
struct Convolution : ConvolutionShape {
  int runs = 0;
  int run_length = 0;
  WindowRun run[9];  // Of the first group.

  // In the order of access: [group][block][run][value of the run][channel of the block].
  const float* weight = nullptr;
  const float* bias = nullptr;  // [group][block][channel of the block]
};

// Consecutive pixels of one output row; `in` is the centre of the first one's window.
struct Pixels {
  const float* in = nullptr;
  float* out = nullptr;
};

// The index of this call among those for a block, their number, and the first pixel of the next call. Each
// call prefetches the next one's input and a share of the next block's weights.
struct Turn {
  int number;
  int of;
  const float* next;
};

struct WinogradMaps;  // winograd.h

// Floats that may be read behind a buffer of maps, and written behind the transforms of a position.
constexpr int kReadAhead = 16;

// The transforms of one tile size. `v` is [position][tile][channel] and `product` the same of output
// channels, positions a given distance apart.
struct WinogradTransforms {
  // Transforms `channels` of a pixel's `in_channels`, a multiple of `lanes`, from `channel` on. Where
  // `channels` is not one, up to kReadAhead values behind are read too and written behind those of the tile,
  // where the next tile's or nothing comes.
  void (*input)(const WinogradMaps& maps, int in_channels, int channel, int channels, int first_tile,
                int tiles, float* v, ptrdiff_t v_position);

  // Adds the bias and writes `channels` output channels from `channel` on.
  void (*output)(const float* product, ptrdiff_t product_position, ptrdiff_t product_tile,
                 const WinogradMaps& maps, int out_channels, int first_tile, int tiles, int channel,
                 int channels, const float* bias, bool relu);
};

// What this product prefetches for a later one, in cache lines.
struct WinogradNext {
  const float* v;
  ptrdiff_t v_lines;
  const float* product;
  ptrdiff_t product_lines;
  bool all_weights;  // Even if few tiles leave little time for it.
};

// The products of a convolution, for one width of blocks.
struct BlockKernels {
  int width;        // Output channels computed at a time.
  int most_pixels;  // Per row in a call of `convolve`.

  // Computes block `block` of group `group` for two rows of pixels (the second null for one row): bias +
  // convolution, then ReLU if asked.
  void (*convolve)(const Convolution& convolution, ptrdiff_t in_row, int group, int block, const Turn& turn,
                   const Pixels& first, const Pixels& second, int pixels, bool relu);

  // One position: product[tile][0..width) = v[tile][0..depth) * u[0..depth)[0..width). The weights of the
  // next call are those behind `u`.
  void (*winograd_multiply)(const float* v, ptrdiff_t v_tile, int depth, int tiles, const float* u,
                            float* product, ptrdiff_t product_tile, const WinogradNext& next);
};

struct KernelTable {
  const char* name;
  int lanes;  // Floats in a vector.

  BlockKernels blocks[3];  // From narrowest to widest; the last two may be the same.

  WinogradTransforms winograd2x2;  // F(2x2, 3x3)
  WinogradTransforms winograd4x2;
  WinogradTransforms winograd4x4;

  // out[i] = ReLU(sum over branches of in[branch][i] * scale[branch][i % channels] + shift[branch][i %
  // channels])
  void (*sum_branches)(const float* const* in, const float* const* scale, const float* const* shift,
                       int branches, int channels, int pixels, bool relu, float* out);

  // data[i] = relu(data[i] * gate[i % channels])
  void (*gate)(float* data, const float* gate, int channels, int pixels, bool relu);

  // sum[c] += data[p][c] over pixels
  void (*sum_pixels)(const float* data, int channels, int pixels, float* sum);

  // out[r] = bias[r] + dot(weight[r], in)
  void (*matrix_vector)(const float* weight, const float* bias, const float* in, int rows, int columns,
                        float* out);
};

// Null where the compiler cannot target the instruction set.
extern const KernelTable* const kBaselineKernels;
extern const KernelTable* const kNeonKernels;
extern const KernelTable* const kAvx2Kernels;
extern const KernelTable* const kAvx512Kernels;

// The named table ("avx512", "avx2", "neon", "baseline"), or for an empty name the best one.
// Throws Error{ERR_DEVICE_UNAVAILABLE} when the processor does not have the named one.
const KernelTable& SelectKernels(const std::string& name);

// The names of the tables that this processor can run, best first.
std::vector<std::string> SupportedInstructionSets();

// The kernels for a group's output channels and rows of `width` pixels; 0 for any number of pixels. Padding
// of blocks and of row pieces to equal sizes wastes some sums: selects the widest kernels that waste few,
// since wider ones need fewer loads per multiplication.
const BlockKernels& SelectBlocks(const KernelTable& kernels, int group_out, int width);

}  // namespace repvgg::cpu
