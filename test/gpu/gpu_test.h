#pragma once

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/candidates.h"
#include "cuda/device_memory.h"
#include "cuda/formats.h"
#include "cuda/gemm_sm90a.h"
#include "engine/e4m3.h"
#include "test/emulator/formats.h"
#include "test/emulator/layers.h"
#include "test/emulator/test.h"

namespace repvgg::gpu {

using emulator::Distance;

// The architecture of the first GPU; 90 for 9.0.
inline int Architecture() {
  int major = 0, minor = 0;
  cuda::Check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "asking for its version");
  cuda::Check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "asking for its version");
  return major * 10 + minor;
}

inline bool Has(Precision precision) {
  if (precision == Precision::kFp8) return Architecture() == 90 && cuda::HasSm90aKernels();
  return precision == Precision::kFp32 || precision == Precision::kFp16 || Architecture() >= 80;
}

// Reports kernels to the test runner (run.mjs), as comma-separated prefixes of their names: kernels that are
// "running" when the process dies are excluded from then on, "wrong" ones in later steps.
inline void Say(const char* what, const std::string& kernels) {
  std::printf("{\"%s\": \"%s\"}\n", what, kernels.c_str());
  std::fflush(stdout);
}

// Reports as running the kernels that depend on what is tested next. False if they are excluded.
inline bool Try(const std::string& kernels) {
  const char* const excluded = std::getenv("REPVGG_EXCLUDE");
  const std::string list = excluded == nullptr ? "" : ',' + std::string(excluded) + ',';
  if (list.find(',' + kernels + ',') != std::string::npos) return false;
  Say("running", kernels);
  return true;
}

inline constexpr const char* kSm90aKernels = "sm90a,f2 chain sm90a,f4 chain sm90a";
inline constexpr const char* kMulticastKernels =
    "sm90a multicast,f2 chain sm90a multicast,f4 chain sm90a multicast";

template <typename T>
cuda::DeviceMemory UploadVector(const std::vector<T>& values) {
  return cuda::Upload(values.data(), values.size() * sizeof(T));
}

template <typename T>
std::vector<T> Download(const cuda::DeviceMemory& memory, size_t count) {
  std::vector<T> values(count);
  cuda::Check(cudaMemcpy(values.data(), memory.get(), count * sizeof(T), cudaMemcpyDeviceToHost),
              "downloading");
  return values;
}

// Conversions between floats and the elements of a map.
inline std::vector<unsigned char> Encode(const std::vector<float>& values, Precision precision) {
  const size_t size = ElementSize(precision);
  std::vector<unsigned char> bytes(values.size() * size);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = cuda::FormatBits(values[i], precision);
    std::memcpy(&bytes[i * size], &bits, size);
  }
  return bytes;
}

inline std::vector<double> Decode(const std::vector<unsigned char>& bytes, Precision precision) {
  const size_t size = ElementSize(precision);
  std::vector<double> values(bytes.size() / size);
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, &bytes[i * size], size);
    values[i] = precision == Precision::kFp8    ? emulator::E4m3ToFloat(static_cast<uint8_t>(bits))
                : precision == Precision::kFp16 ? emulator::HalfToFloat(static_cast<uint16_t>(bits))
                : precision == Precision::kBf16 ? emulator::BFloat16ToFloat(static_cast<uint16_t>(bits))
                                                : std::bit_cast<float>(bits);
  }
  return values;
}

}  // namespace repvgg::gpu
