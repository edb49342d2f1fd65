// How maps of each precision are stored.
#pragma once

#include "cuda/convolution.h"
#include "cuda/ptx.cuh"

namespace repvgg::cuda {

template <Precision kPrecision>
struct ElementOf {
  using Type = float;
};
template <>
struct ElementOf<Precision::kFp16> {
  using Type = Half;
};
template <>
struct ElementOf<Precision::kBf16> {
  using Type = BFloat16;
};
template <>
struct ElementOf<Precision::kFp8> {
  using Type = Fp8;
};
template <Precision kPrecision>
using Element = typename ElementOf<kPrecision>::Type;

// tf32 networks keep their maps rounded to tf32: tensor cores would cut off the lower bits, at twice the
// error.
template <Precision kPrecision>
REPVGG_DEVICE void StoreOne(Element<kPrecision>* to, float value) {
  *to = FromFloat<Element<kPrecision>>(kPrecision == Precision::kTf32 ? RoundToTf32(value) : value);
}

// Two neighbours, at an even index of an aligned map.
template <Precision kPrecision>
REPVGG_DEVICE void StorePair(Element<kPrecision>* to, float first, float second) {
  if constexpr (sizeof(Element<kPrecision>) == 2) {
    *reinterpret_cast<uint32_t*>(to) = Pack<Element<kPrecision>>(first, second);
  } else if constexpr (kPrecision == Precision::kTf32) {
    *reinterpret_cast<float2*>(to) = make_float2(RoundToTf32(first), RoundToTf32(second));
  } else {
    *reinterpret_cast<float2*>(to) = make_float2(first, second);
  }
}

// Two values of 16 bits in one word.
template <typename T>
REPVGG_DEVICE float2 Unpack(uint32_t word) {
  return make_float2(ToFloat(T{static_cast<uint16_t>(word)}), ToFloat(T{static_cast<uint16_t>(word >> 16)}));
}

// NaN stays NaN, as in PyTorch.
REPVGG_DEVICE float Relu(float value) { return value < 0 ? 0 : value; }

// Calls `call.operator()<kPrecision>()`.
template <typename Call>
cudaError_t WithPrecision(Precision precision, Call call) {
  switch (precision) {
    case Precision::kFp32:
      return call.template operator()<Precision::kFp32>();
    case Precision::kTf32:
      return call.template operator()<Precision::kTf32>();
    case Precision::kFp16:
      return call.template operator()<Precision::kFp16>();
    case Precision::kBf16:
      return call.template operator()<Precision::kBf16>();
    case Precision::kFp8:
      break;  // Only its own kernels.
  }
  return cudaErrorInvalidValue;
}

}  // namespace repvgg::cuda
