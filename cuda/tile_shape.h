// The tiles that a family of kernels is built with, as the host knows them.
#pragma once

#include <span>

namespace repvgg::cuda {

struct TileShape {
  int rows;  // Of the product: output pixels, or Winograd's tiles of them.
  int channels;
  int shared_bytes;
  // Needs channels of a group, in and out, that fill 16 bytes: in multiples of 8 in 16-bit types, of 4 in
  // fp32 and tf32.
  bool aligned = true;
};

}  // namespace repvgg::cuda
