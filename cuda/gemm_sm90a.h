// Host side of gemm_sm90a.cuh, for its two users: direct_sm90a.cc and winograd_chain.cc.
#pragma once

#include <span>
#include <string>

#include "cuda/convolution.h"
#include "cuda/runtime.h"
#include "cuda/tensor_map.h"

namespace repvgg::cuda {

inline constexpr int kMostGroups = 4;

// The operand that the two blocks of a cluster load once and multicast.
enum class Operand { kNone, kIn, kWeight };

// out[batch][row][column] = sum over taps and depth of in * weight, batched. A batch is a group of a
// convolution (rows are pixels) or a position of the Winograd domain (rows are tiles).
struct GemmSm90a {
  // Dimensions of the tensor maps, innermost first.
  TensorMap in[kMostGroups];     // Convolution: im2col, one map per group. Winograd: in[0] is depth, group,
                                 // rows, position.
  TensorMap weight;              // BoxChannels, columns, steps (block of depth, tap), batches.
  TensorMap out;                 // columns, group, rows, position.
  const float* bias = nullptr;   // [batches][columns]
  const float* scale = nullptr;  // [batches][columns], fp8 only: Convolution::scale.
  int rows = 0, columns = 0, batches = 0, groups = 1;
  int depth = 0;
  bool relu = false;
  // Convolution only.
  int out_width = 1, out_height = 1, stride = 1;
  // Split-K. If splits > 1, the kernel writes only the partial sums, to `sums`, [split][row][channel]; or, if
  // `map` is set, each tile is computed by a cluster of `splits` blocks, which reduce their parts and write
  // `map`, [row][channel].
  int splits = 1;
  float* sums = nullptr;
  void* map = nullptr;
  double* pooled = nullptr;  // Written instead of `out`: see Convolution::pooled.
};

struct GemmSm90aTile {
  int rows, columns;
  bool ping_pong;
  Operand multicast;
  int shared_bytes;
  int in_rows, weight_columns;  // Box extents of GemmSm90a::in and weight.
  int store_columns;            // Box extent of GemmSm90a::out, by 64 rows.
  bool adds_parts;              // Supports GemmSm90a::map.
  cudaError_t (*launch)(const GemmSm90a& gemm, cudaStream_t stream);
};

// The name of a tile without its size, such as "sm90a", "sm90a ping-pong" or "sm90a multicast weights";
// `parts`, such as " split 3", follows "sm90a".
std::string Sm90aName(const GemmSm90aTile& tile, const std::string& parts = "");

// Whether this build contains these kernels: they exist as machine code for compute capability 9.0 only.
bool HasSm90aKernels();

}  // namespace repvgg::cuda
