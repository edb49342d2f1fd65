// What cuda/tensor_map.h encodes, for the emulator to read.
#pragma once

#include "cuda/tensor_map.h"

namespace repvgg::emulator {

struct EncodedMap {
  enum Kind { kTiled, kPixels } kind;
  int element;  // Bytes.
  union {
    cuda::TiledArray tiled;
    cuda::PixelArray pixels;
  };
};
static_assert(sizeof(EncodedMap) <= sizeof(cuda::TensorMap));

inline const EncodedMap& Decode(const cuda::TensorMap& map) {
  return reinterpret_cast<const EncodedMap&>(map);
}

// Of one copy, in shared memory.
inline int BoxBytes(const cuda::TensorMap& map) {
  const EncodedMap& encoded = Decode(map);
  if (encoded.kind == EncodedMap::kPixels) return encoded.pixels.box_pixels * 128;
  int elements = 1;
  for (const uint32_t size : encoded.tiled.box) elements *= static_cast<int>(size);
  return elements * encoded.element;
}

}  // namespace repvgg::emulator
