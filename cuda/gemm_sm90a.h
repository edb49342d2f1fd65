// Host side of gemm_sm90a.cuh, for its two users: direct_sm90a.cc and winograd_chain.cc.
#pragma once

#include <span>
#include <string>

#include "cuda/convolution.h"
#include "cuda/runtime.h"
#include "cuda/tensor_map.h"

namespace repvgg::cuda {

inline constexpr int kMostGroups = 4;

// What two blocks of a cluster load once for both.
enum class Operand { kNone, kIn, kWeight };

// out[batch][row][column] = sum over taps and depth of in * weight, of all batches at once. A batch is a
// group of a convolution (rows are pixels) or a position of Winograd's domain (rows are tiles).
struct GemmSm90a {
  TensorMap in[kMostGroups];    // Convolution: pixels of one group each. Else in[0]: depth, batches % groups,
                                // rows, rest.
  TensorMap weight;             // BoxChannels, columns, blocks of depth times taps, batches.
  TensorMap out;                // columns, batches % groups, rows, rest.
  const float* bias = nullptr;  // [batches][columns]
  const float* scale = nullptr;  // The same: Convolution::scale.
  int rows = 0, columns = 0, batches = 0, groups = 1;
  int depth = 0;
  bool relu = false;
  // Convolution only.
  int out_width = 1, out_height = 1, stride = 1;
  // With more than one, `sums` gets each part of the reduction, [split][row][channel], and nothing else is
  // done; or, where `map` is set, the parts of a tile are the blocks of a cluster, which add them and write
  // it, [row][channel].
  int splits = 1;
  float* sums = nullptr;
  void* map = nullptr;
  double* pooled = nullptr;  // Instead of `out`: see Convolution.
};

struct GemmSm90aTile {
  int rows, columns;
  bool ping_pong;
  Operand multicast;
  int shared_bytes;
  int in_rows, weight_columns;  // Of the boxes of GemmSm90a::in and weight.
  int store_columns;            // Of the box of GemmSm90a::out; its rows are 64.
  bool adds_parts;              // Knows GemmSm90a::map.
  cudaError_t (*launch)(const GemmSm90a& gemm, cudaStream_t stream);
};

// "sm90a", "sm90a ping-pong", "sm90a multicast weights": what a tile is but for its size; `parts`, such as
// " split 3", behind "sm90a".
std::string Sm90aName(const GemmSm90aTile& tile, const std::string& parts = "");

// Whether this build has these kernels: they exist in machine code for compute capability 9.0 only.
bool HasSm90aKernels();

}  // namespace repvgg::cuda
