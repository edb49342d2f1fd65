#include "cuda/tensor_map.h"

#include <cuda.h>

#include <cstring>

namespace repvgg::cuda {
namespace {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));

// A function of libcuda.so, which the runtime has loaded; null if there is none.
template <typename Function>
Function* DriverFunction(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
#else
  const cudaError_t error = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &result);
#endif
  if (error != cudaSuccess || result != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<Function*>(found);
}

CUtensorMapDataType DataType(Precision precision) {
  return precision == Precision::kFp8    ? CU_TENSOR_MAP_DATA_TYPE_UINT8
         : precision == Precision::kFp16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                         : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
}

CUtensorMapSwizzle Swizzle(uint32_t row_bytes) {
  switch (row_bytes) {
    case 128:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    case 64:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case 32:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    default:
      return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

cudaError_t Finish(CUresult result, const CUtensorMap& encoded, TensorMap* map) {
  if (result != CUDA_SUCCESS) return cudaErrorInvalidValue;
  std::memcpy(map, &encoded, sizeof *map);
  return cudaSuccess;
}

}  // namespace

cudaError_t EncodeTiled(const TiledArray& array, Precision precision, TensorMap* map) {
  static const auto encode = DriverFunction<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  CUtensorMap encoded;
  const CUresult result =
      encode(&encoded, DataType(precision), 4, const_cast<void*>(array.base), array.size, array.stride,
             array.box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, Swizzle(array.box[0] * ElementSize(precision)),
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return Finish(result, encoded, map);
}

cudaError_t EncodePixels(const PixelArray& array, Precision precision, TensorMap* map) {
  static const auto encode = DriverFunction<decltype(cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint64_t size[4] = {static_cast<cuuint64_t>(array.channels), static_cast<cuuint64_t>(array.width),
                              static_cast<cuuint64_t>(array.height), static_cast<cuuint64_t>(array.batch)};
  const cuuint64_t pixel = static_cast<cuuint64_t>(array.pixel_elements) * ElementSize(precision);
  const cuuint64_t strides[3] = {pixel, pixel * array.width, pixel * array.width * array.height};
  // The bounding box of a window's first tap: (-1, -1) to (width - 2, height - 2).
  const int lower[2] = {-1, -1}, upper[2] = {-1, -1};
  const auto step = static_cast<cuuint32_t>(array.stride);
  const cuuint32_t steps[4] = {1, step, step, 1};
  CUtensorMap encoded;
  const CUresult result = encode(&encoded, DataType(precision), 4, const_cast<void*>(array.base), size,
                                 strides, lower, upper, BoxChannels(precision), array.box_pixels, steps,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return Finish(result, encoded, map);
}

}  // namespace repvgg::cuda
