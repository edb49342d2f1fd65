// The description of a convolution layer, and the order in which implicit GEMM kernels traverse the
// reduction. Plain C++, for host and device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/precision.h"

namespace repvgg::cuda {

struct Stem;  // cuda/stem.h

// out = ReLU(conv3x3(in) + bias), padding 1. Maps are NHWC without borders, in the kernel's element type, and
// aligned to 16 bytes. A map has fewer than 2^31 - 1 elements; launches of larger ones return
// cudaErrorInvalidValue.
struct Convolution {
  const void* in = nullptr;      // [batch][height][width][in_channels]
  const void* weight = nullptr;  // From the kernel's Pack function.
  const float* bias = nullptr;   // [out_channels]
  const float* scale = nullptr;  // [out_channels], fp8 only: dequantises the sums, before the bias.
  void* out = nullptr;           // [batch][out_height][out_width][out_channels]
  void* workspace = nullptr;     // WorkspaceBytes (cuda/algorithm.h) bytes.
  int batch = 0;
  int height = 0;
  int width = 0;
  int in_channels = 0;
  int out_channels = 0;
  int stride = 1;
  int groups = 1;
  bool relu = true;
  // Last layer only, if the kernel can (PoolsItself in cuda/algorithm.h): instead of `out`, the kernel writes
  // per-image sums over pixels, in PooledParts parts, [batch][part][out_channels]. A part covers the pixels
  // of one image in one aligned run of kPooledRows pixels of the batch.
  double* pooled = nullptr;
  // Winograd chains only: the workspace already holds the transformed input; the workspace is to receive the
  // next layer's transformed input.
  bool transformed_in = false, transformed_out = false;
  // Second layer only, when it is measured or run together with the first: the first layer, whose map is
  // `in`.
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

// The default limit of Convolution::workspace.
inline constexpr size_t kWorkspaceBytes = size_t{48} << 20;

// Split-K: the number of parts, of whole steps, that a reduction is split into, and who adds them in order: a
// second kernel, by way of the workspace, or the blocks of a cluster, each of which computes one part.
struct Parts {
  int count = 1;
  bool in_cluster = false;
};
inline constexpr int kMostBlocksOfCluster = 8;

inline constexpr int kPooledRows = 64;
// The largest number of parts of an image of `pixels` pixels.
constexpr int PooledParts(int pixels) { return (pixels + kPooledRows - 2) / kPooledRows + 1; }

// The reduction of an implicit GEMM runs over 16-byte chunks of a pixel's channels, kStepChunks per step.
// Channels are taken in blocks of kStepChunks chunks, and the nine taps of a block follow each other, so that
// pixels shared by adjacent taps are still in L1. The last block may be narrower; its steps then hold chunks
// of several taps, so that only the very last step is padded.
inline constexpr int kStepChunks = 4;

constexpr int DivideUp(int a, int b) { return (a + b - 1) / b; }

// Steps for `channels` channels, `per_chunk` to a chunk.
constexpr int ReductionSteps(int channels, int per_chunk) {
  return DivideUp(9 * DivideUp(channels, per_chunk), kStepChunks);
}

// A position in that order.
struct ReductionPosition {
  int first_chunk = 0;  // First chunk of the current block.
  int block_chunks;     // Chunks in the current block; 0 or less past the end.
  int tap = 0;
  int chunk = 0;  // Within the current block.

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
