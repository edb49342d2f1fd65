// The CPU's inner loops, behind a table of functions: kernels_impl.h is compiled once per instruction set,
// and dispatch.cc picks a table at run time.
//
// Layout of activations: NHWC with a border of one zero pixel around every map, [height + 2][width +
// 2][channels]. A 3x3 window with padding 1 then never leaves the map, and needs no test at its edges.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cpu/huge_array.h"

namespace repvgg::cpu {

// A convolution of 9 taps (3x3, padding 1) or 1 tap (1x1, padding 0). Plain data: the kernel sources call no
// inline functions (kernels_impl.h says why).
struct Convolution {
  int taps = 0;
  int in_channels = 0;
  int out_channels = 0;
  int stride = 1;
  int groups = 1;
  int group_in = 0;  // Channels of one group.
  int group_out = 0;
  int blocks = 0;  // Blocks of block_width output channels per group, the last one filled up with zeros.

  // In the order in which it is read: [group][block][tap][input channel of the group][channel of the block].
  const float* weight = nullptr;
  const float* bias = nullptr;  // [group][block][channel of the block]
};

struct PackedConvolution : Convolution {
  HugeArray<float> storage;  // weight, then bias
};

// One image's maps for one convolution. Pointers are to the map's first pixel, inside the border.
struct ConvolutionImage {
  const float* in = nullptr;
  ptrdiff_t in_row = 0;  // Distance between rows, in floats.
  float* out = nullptr;
  ptrdiff_t out_row = 0;
  int out_width = 0;
};

struct WinogradMaps;  // winograd.h

// The transforms of one tile size. `v` is [position][tile][in channel] and `product`
// [position][tile][channel], positions a given distance apart. In channels must be a multiple of `lanes`.
struct WinogradTransforms {
  void (*input)(const WinogradMaps& maps, int in_channels, int first_tile, int tiles, float* v,
                ptrdiff_t v_position);

  // Adds the bias and writes `channels` output channels from `channel` on.
  void (*output)(const float* product, ptrdiff_t product_position, ptrdiff_t product_tile,
                 const WinogradMaps& maps, int out_channels, int first_tile, int tiles, int channel,
                 int channels, const float* bias, bool relu);
};

// What is done to maps besides convolution, for activations of type T.
template <class T>
struct MapKernels {
  // data[i] = relu(data[i] * gate[i % channels])
  void (*gate)(T* data, const float* gate, int channels, int pixels, bool relu);

  // sum[c] += data[p][c] over pixels
  void (*sum_pixels)(const T* data, int channels, int pixels, float* sum);
};

struct KernelTable {
  const char* name;
  int lanes;        // Floats in a vector.
  int block_width;  // Output channels that are computed at a time.

  // Computes output row `y` for block `block` of group `group`: bias + convolution, then ReLU if asked.
  void (*convolve_row)(const Convolution& convolution, const ConvolutionImage& image, int y, int group,
                       int block, bool relu);

  WinogradTransforms winograd2;  // F(2x2, 3x3)
  WinogradTransforms winograd4;  // F(4x4, 3x3)

  // One position: product[tile][0..block_width) = v[tile][0..depth) * u[0..depth)[0..block_width)
  void (*winograd_multiply)(const float* v, ptrdiff_t v_tile, int depth, int tiles, const float* u,
                            float* product, ptrdiff_t product_tile);

  // out[i] = ReLU(sum over branches of in[branch][i] * scale[branch][i % channels] + shift[branch][i %
  // channels])
  void (*sum_branches)(const float* const* in, const float* const* scale, const float* const* shift,
                       int branches, int channels, int pixels, bool relu, float* out);

  MapKernels<float> maps;

  // out[r] = bias[r] + dot(weight[r], in)
  void (*matrix_vector)(const float* weight, const float* bias, const float* in, int rows, int columns,
                        float* out);
};

// Null where the compiler cannot target the instruction set.
extern const KernelTable* const kBaselineKernels;
extern const KernelTable* const kAvx2Kernels;
extern const KernelTable* const kAvx512Kernels;

// The best table this processor can run, or the named one ("avx512", "avx2", "baseline").
// Throws Error{ERR_DEVICE_UNAVAILABLE} when the processor does not have the named one.
const KernelTable& SelectKernels(const std::string& name);

// The names this processor can run, best first.
std::vector<std::string> SupportedInstructionSets();

// Packs `weight`, [out_channels][in_channels / groups][taps], for a table's block width. An empty bias means
// zeros.
PackedConvolution Pack(const float* weight, const float* bias, int taps, int in_channels, int out_channels,
                       int stride, int groups, int block_width);

}  // namespace repvgg::cpu
