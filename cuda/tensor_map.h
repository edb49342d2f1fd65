// What the tensor memory accelerator of Hopper knows of an array: its place, sizes and strides, and the box
// that one copy takes from it or puts into it. Parts of a box beyond the array are zeros when loaded and are
// not stored.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

// The driver's own format. Kernels take it as a parameter, by value.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

// Sizes and boxes are in elements, innermost first; strides in bytes, of all dimensions but the innermost.
// Base and strides are multiples of 16 bytes, and each stride is one of the stride before it. The innermost
// size of a box is 16, 32, 64 or 128 bytes; in shared memory its rows of that size follow each other, and
// within each aligned 1024 bytes bits 4 to 6 of an address are exchanged by bits 7 to 9 (of which rows of 32
// bytes use one, of 64 bytes two): see SwizzledByte.
struct TiledArray {
  const void* base = nullptr;
  uint64_t size[4] = {};
  uint64_t stride[3] = {};
  uint32_t box[4] = {};
};

// Maps of pixels, as a 3x3 convolution with padding 1 reads them: a box is `box_pixels` windows' worth of one
// tap, BoxChannels each; windows follow each other along rows, lines and images.
struct PixelArray {
  const void* base = nullptr;
  int batch = 0, height = 0, width = 0;
  int channels = 0;        // That may be read; the others of a pixel are zeros.
  int pixel_elements = 0;  // From one pixel to the next.
  int stride = 1;          // Of the convolution.
  int box_pixels = 0;
};

// Of a PixelArray: they fill the 128 bytes of a row.
constexpr int BoxChannels(Precision precision) { return 128 / ElementSize(precision); }

// `precision` is kFp16, kBf16 or kFp8. The driver's functions are looked up at run time: nothing needs to be
// linked, and without a driver these return an error.
cudaError_t EncodeTiled(const TiledArray& array, Precision precision, TensorMap* map);
cudaError_t EncodePixels(const PixelArray& array, Precision precision, TensorMap* map);

// Where byte `offset` of rows of `row_bytes` lies within the box.
constexpr int SwizzledByte(int offset, int row_bytes) {
  const int bits = row_bytes >= 128 ? 7 : row_bytes == 64 ? 3 : row_bytes == 32 ? 1 : 0;
  return offset ^ ((offset >> 7 & bits) << 4);
}

}  // namespace repvgg::cuda
