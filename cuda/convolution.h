// What all convolution kernels have in common: the description of one layer, and the order in which the
// implicit GEMM kernels read the weights. Plain C++, for host and device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/precision.h"

namespace repvgg::cuda {

struct Stem;  // cuda/stem.h

// out = ReLU(conv3x3(in) + bias), padding 1. Maps are NHWC without borders, in the kernel's own element type,
// and must start at multiples of 16 bytes. No more than 2^31 - 1 elements in a map: a launch beyond that
// returns cudaErrorInvalidValue.
struct Convolution {
  const void* in = nullptr;      // [batch][height][width][in_channels]
  const void* weight = nullptr;  // As the kernel's Pack function lays it out.
  const float* bias = nullptr;   // [out_channels]
  const float* scale = nullptr;  // [out_channels], of fp8: what sums are multiplied by, before the bias.
  void* out = nullptr;           // [batch][out_height][out_width][out_channels]
  void* workspace = nullptr;     // Of WorkspaceBytes (cuda/algorithm.h).
  int batch = 0;
  int height = 0;
  int width = 0;
  int in_channels = 0;
  int out_channels = 0;
  int stride = 1;
  int groups = 1;
  bool relu = true;
  // Of the last layer, where the kernel can (PoolsItself in cuda/algorithm.h): sums over pixels, of each
  // image in PooledParts parts, [batch][part][out_channels], instead of `out`. A part is kPooledRows pixels
  // of the batch, as far as they are of that image.
  double* pooled = nullptr;
  // Of Winograd's chains: the workspace holds the inputs, transformed; it is to hold those of the next layer.
  bool transformed_in = false, transformed_out = false;
  // Of the second layer, where it is measured or run together with the first: that one, whose map is `in`.
  const Stem* stem = nullptr;

  constexpr int out_height() const { return (height + stride - 1) / stride; }
  constexpr int out_width() const { return (width + stride - 1) / stride; }
  constexpr int group_in() const { return in_channels / groups; }
  constexpr int group_out() const { return out_channels / groups; }
  constexpr int pixels() const { return batch * out_height() * out_width(); }
  constexpr bool fits() const {
    const int64_t in_elements = int64_t{batch} * height * width * in_channels;
    const int64_t out_elements = int64_t{batch} * out_height() * out_width() * out_channels;
    return in_elements < INT32_MAX && out_elements < INT32_MAX;
  }
};

// Of Convolution::workspace.
inline constexpr size_t kWorkspaceBytes = size_t{48} << 20;

// Of how many parts, of whole steps, the sum of a reduction is, in order; and who adds them: a second kernel,
// by way of the workspace, or the blocks of a cluster, which compute one each.
struct Parts {
  int count = 1;
  bool in_cluster = false;
};
inline constexpr int kMostBlocksOfCluster = 8;

inline constexpr int kPooledRows = 64;
// The most parts that an image of so many pixels has.
constexpr int PooledParts(int pixels) { return (pixels + kPooledRows - 2) / kPooledRows + 1; }

// The reduction of an implicit GEMM runs over chunks of 16 bytes of one pixel's channels, kStepChunks at a
// time. Channels are taken in blocks of kStepChunks chunks and all nine taps of a block follow each other, so
// that the pixels which neighbouring taps share are still in L1. The last block may be narrower; steps then
// hold chunks of several taps, so that only the very last step can have unused places.
inline constexpr int kStepChunks = 4;

constexpr int DivideUp(int a, int b) { return (a + b - 1) / b; }

// Steps for `channels` channels of which `per_chunk` fill 16 bytes.
constexpr int ReductionSteps(int channels, int per_chunk) {
  return DivideUp(9 * DivideUp(channels, per_chunk), kStepChunks);
}

// A position in that order.
struct ReductionPosition {
  int first_chunk = 0;  // Of the current block.
  int block_chunks;     // Chunks in the current block; 0 or less after the end.
  int tap = 0;
  int chunk = 0;  // Within the block.

  explicit constexpr ReductionPosition(int chunks)
      : block_chunks(chunks < kStepChunks ? chunks : kStepChunks) {}

  constexpr void Advance(int by, int chunks) {
    chunk += by;
    while (block_chunks > 0 && chunk >= block_chunks) {
      chunk -= block_chunks;
      if (++tap == 9) {
        tap = 0;
        first_chunk += kStepChunks;
        block_chunks = chunks - first_chunk < kStepChunks ? chunks - first_chunk : kStepChunks;
      }
    }
  }
};

}  // namespace repvgg::cuda
