// The end of a split reduction, shared by sum_splits.cu and by clusters: results depend on the number of
// parts and on nothing else.
#pragma once

#include "cuda/element.cuh"

namespace repvgg::cuda {

inline constexpr int kMostParts = 9;

// Four channels of a pixel: ReLU(bias + parts, in order). `part(i)` is the float4 of part i; all are loaded
// before the first is added.
template <typename T, typename Part>
REPVGG_DEVICE void StoreSumOfParts(T* to, const float* bias, bool relu, int parts, Part part) {
  float4 values[kMostParts];
#pragma unroll
  for (int i = 0; i < kMostParts; ++i) {
    if (i < parts) values[i] = part(i);
  }
  float4 sum = *reinterpret_cast<const float4*>(bias);
#pragma unroll
  for (int i = 0; i < kMostParts; ++i) {
    if (i < parts) sum.x += values[i].x, sum.y += values[i].y, sum.z += values[i].z, sum.w += values[i].w;
  }
  if (relu) sum = make_float4(Relu(sum.x), Relu(sum.y), Relu(sum.z), Relu(sum.w));
  *reinterpret_cast<uint2*>(to) = make_uint2(Pack<T>(sum.x, sum.y), Pack<T>(sum.z, sum.w));
}

}  // namespace repvgg::cuda
