// The driver's rules for tensor maps (CUDA driver API, "Tensor Map Object Management").
#include "test/emulator/tensor_map_emulated.h"

#include <cstring>

namespace repvgg::cuda {
namespace {

bool Aligned(uint64_t value) { return value % 16 == 0; }

bool Known(Precision precision) {
  return precision == Precision::kFp16 || precision == Precision::kBf16 || precision == Precision::kFp8;
}

cudaError_t Write(const emulator::EncodedMap& encoded, TensorMap* map) {
  std::memcpy(static_cast<void*>(map), &encoded, sizeof encoded);
  return cudaSuccess;
}

}  // namespace

cudaError_t EncodeTiled(const TiledArray& array, Precision precision, TensorMap* map) {
  bool valid = Known(precision);
  valid &= Aligned(reinterpret_cast<uint64_t>(array.base));
  for (const uint64_t stride : array.stride) valid &= Aligned(stride) && stride < uint64_t{1} << 40;
  for (int i = 1; i < 3; ++i) valid &= array.stride[i] % array.stride[i - 1] == 0;
  for (const uint64_t size : array.size) valid &= size > 0 && size <= uint64_t{1} << 32;
  for (const uint32_t box : array.box) valid &= box > 0 && box <= 256;
  const uint64_t element = ElementSize(precision), row = array.box[0] * element;
  valid &= row == 16 || row == 32 || row == 64 || row == 128;
  if (!valid) return cudaErrorInvalidValue;
  return Write({.kind = emulator::EncodedMap::kTiled, .element = ElementSize(precision), .tiled = array},
               map);
}

cudaError_t EncodePixels(const PixelArray& array, Precision precision, TensorMap* map) {
  bool valid = Known(precision);
  valid &= Aligned(reinterpret_cast<uint64_t>(array.base)) &&
           Aligned(static_cast<uint64_t>(ElementSize(precision)) * array.pixel_elements);
  valid &= array.batch > 0 && array.height > 0 && array.width > 0 && array.channels > 0;
  valid &= array.stride >= 1 && array.stride <= 8 && array.box_pixels > 0 && array.box_pixels <= 1024;
  if (!valid) return cudaErrorInvalidValue;
  return Write({.kind = emulator::EncodedMap::kPixels, .element = ElementSize(precision), .pixels = array},
               map);
}

}  // namespace repvgg::cuda
