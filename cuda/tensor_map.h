// Tensor maps for Hopper's TMA: an array's base, sizes and strides, and the box that one copy loads or
// stores. Elements of a box outside the array are zero-filled by loads and skipped by stores.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

// CUtensorMap, which is opaque. Kernels take it by value, as a __grid_constant__ parameter. TMA needs 64
// bytes of alignment, the type of CUDA 13 has 128.
struct alignas(128) TensorMap {
  uint64_t opaque[16];
};

// A tiled map. Sizes and boxes are in elements, innermost dimension first; strides are in bytes, of all
// dimensions but the innermost. Base and strides are multiples of 16 bytes. A box's innermost extent is 16,
// 32, 64 or 128 bytes; its rows are contiguous in shared memory, with the swizzle of that width (none for
// 16): within each aligned 1024 bytes, bits 4 to 6 of the address are XORed with bits 7 to 9, of which
// 64-byte rows use two and 32-byte rows one (SwizzledByte).
struct TiledArray {
  const void* base = nullptr;
  uint64_t size[4] = {};
  uint64_t stride[3] = {};
  uint32_t box[4] = {};
};

// An im2col map of a 3x3 convolution with padding 1: a box holds one tap of `box_pixels` consecutive windows,
// BoxChannels channels each; windows run on across rows and images.
struct PixelArray {
  const void* base = nullptr;
  int batch = 0, height = 0, width = 0;
  int channels = 0;        // Channels to read; those beyond are zero-filled.
  int pixel_elements = 0;  // Distance between pixels.
  int stride = 1;          // Of the convolution.
  int box_pixels = 0;
};

// Channels of a PixelArray's box: a 128-byte row.
constexpr int BoxChannels(Precision precision) { return 128 / ElementSize(precision); }

// `precision` is kFp16, kBf16 or kFp8. The driver's functions are resolved at run time, so that nothing links
// against libcuda; without a driver these return an error.
cudaError_t EncodeTiled(const TiledArray& array, Precision precision, TensorMap* map);
cudaError_t EncodePixels(const PixelArray& array, Precision precision, TensorMap* map);

// The swizzled position of byte `offset` of a box with rows of `row_bytes`.
constexpr int SwizzledByte(int offset, int row_bytes) {
  const int bits = row_bytes >= 128 ? 7 : row_bytes == 64 ? 3 : row_bytes == 32 ? 1 : 0;
  return offset ^ ((offset >> 7 & bits) << 4);
}

}  // namespace repvgg::cuda
