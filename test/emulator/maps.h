// Activations of any precision, for the tests of kernels that take them all.
#pragma once

#include "cuda/candidates.h"
#include "cuda/ptx.cuh"
#include "test/emulator/layers.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {

// All but fp8, which only some kernels have.
inline constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kTf32, Precision::kFp16,
                                            Precision::kBf16};

class Maps {
 public:
  Maps(Precision precision, const std::vector<float>& values, Contents contents = Contents::kInput)
      : Maps(precision, values.size(), contents) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (precision == Precision::kFp16) {
        reinterpret_cast<cuda::Half*>(bytes_.data())[i] = cuda::FromFloat<cuda::Half>(values[i]);
      } else if (precision == Precision::kBf16) {
        reinterpret_cast<cuda::BFloat16*>(bytes_.data())[i] = cuda::FromFloat<cuda::BFloat16>(values[i]);
      } else if (precision == Precision::kFp8) {
        reinterpret_cast<cuda::Fp8*>(bytes_.data())[i] = cuda::FromFloat<cuda::Fp8>(values[i]);
      } else {
        reinterpret_cast<float*>(bytes_.data())[i] = RoundTo(precision)(values[i]);
      }
    }
  }
  Maps(Precision precision, size_t size, Contents contents = Contents::kOutput)
      : precision_(precision), size_(size), bytes_(size * ElementSize(precision), contents) {}

  void* data() const { return bytes_.data(); }
  std::vector<double> Values() const {
    std::vector<double> values(size_);
    for (size_t i = 0; i < size_; ++i) {
      if (precision_ == Precision::kFp16) {
        values[i] = cuda::ToFloat(reinterpret_cast<const cuda::Half*>(bytes_.data())[i]);
      } else if (precision_ == Precision::kBf16) {
        values[i] = cuda::ToFloat(reinterpret_cast<const cuda::BFloat16*>(bytes_.data())[i]);
      } else if (precision_ == Precision::kFp8) {
        values[i] = cuda::ToFloat(reinterpret_cast<const cuda::Fp8*>(bytes_.data())[i]);
      } else {
        values[i] = reinterpret_cast<const float*>(bytes_.data())[i];
      }
    }
    return values;
  }

 private:
  Precision precision_;
  size_t size_;
  DeviceArray<unsigned char> bytes_;
};

}  // namespace repvgg::emulator
