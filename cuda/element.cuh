// Element types of the maps of each precision, and their stores.
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

// Maps of tf32 networks are rounded to tf32: tensor cores truncate the lower bits, which has twice the error.
template <Precision kPrecision>
REPVGG_DEVICE void StoreOne(Element<kPrecision>* to, float value) {
  *to = FromFloat<Element<kPrecision>>(kPrecision == Precision::kTf32 ? RoundToTf32(value) : value);
}

// Stores two adjacent elements, at an even index of an aligned map.
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

// Unpacks two 16-bit values.
template <typename T>
REPVGG_DEVICE float2 Unpack(uint32_t word) {
  return make_float2(ToFloat(T{static_cast<uint16_t>(word)}), ToFloat(T{static_cast<uint16_t>(word >> 16)}));
}

// Propagates NaN, like PyTorch.
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
      break;  // Only dedicated kernels support it.
  }
  return cudaErrorInvalidValue;
}

}  // namespace repvgg::cuda
