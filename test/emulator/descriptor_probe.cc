#include "test/emulator/descriptor_probe.h"

#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kThreads = 128;
constexpr int kPatchRows = 192;
constexpr int kColumns = 32;
constexpr int kSharedBytes = (kPatchRows + kColumns) * 128;
constexpr int kBaseOffsets = 8;

// Values of the patch say where they are, the other operand is the identity: sums are what was read.
__global__ void __launch_bounds__(kThreads)
    DescriptorProbeKernel(const DescriptorProbe* probes, int count, float* out) {
  unsigned char* const patch = SharedMemory();
  unsigned char* const identity = patch + kPatchRows * 128;
  for (int i = threadIdx.x; i < (kPatchRows + kColumns) * 8; i += kThreads) {
    const int row = i / 8, chunk = i % 8, column = row - kPatchRows;
    uint32_t words[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const auto one = [&](int k) { return k == column ? 1.0f : 0.0f; };
      const int k = chunk * 8 + word * 2;
      const float at = static_cast<float>(i);
      words[word] = row < kPatchRows ? Pack<Half>(at, at) : Pack<Half>(one(k), one(k + 1));
    }
    *reinterpret_cast<uint4*>(patch + SwizzledByte(i * 16, 128)) =
        make_uint4(words[0], words[1], words[2], words[3]);
  }
  FenceForTma();  // Wgmma reads by the same way as TMA.
  __syncthreads();
  const uint64_t b = MatrixDescriptor(SharedAddress(identity));
  for (int i = 0; i < count; ++i) {
    const DescriptorProbe probe = probes[i];
    uint64_t a = NextDescriptor(MatrixDescriptor(SharedAddress(patch) + probe.shift * 128), probe.step);
    a += static_cast<uint64_t>((probe.pitch - 8) * 128 >> 4) << 32;
    a |= static_cast<uint64_t>(probe.base_offset) << 49;
    float sum[kColumns / 2];
    WgmmaFence();
    Wgmma<Half, kColumns, false>(sum, a, b);
    WgmmaCommit();
    WgmmaWait<0>();
    if (threadIdx.x % 4 == 0) {
      const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
      float* const to = out + (i * kDescriptorProbeRows + row) * 2;
      to[0] = sum[0], to[1] = sum[4];
      to[16] = sum[2], to[17] = sum[6];
    }
    __syncwarp();
  }
}

bool Right(const DescriptorProbe& probe, const float* out) {
  for (int i = 0; i < kDescriptorProbeRows * 2; ++i) {
    const int row = i / 2, from = probe.shift + row / 8 * probe.pitch + row % 8;
    if (out[i] != static_cast<float>(from * 8 + probe.step * 2 + i % 2)) return false;
  }
  return true;
}

}  // namespace

std::vector<DescriptorProbe> DescriptorProbes() {
  std::vector<DescriptorProbe> probes;
  for (const int pitch : {8, 10, 18}) {
    for (int i = 0; i < (pitch == 8 ? 8 : 9); ++i) {
      const int shift = pitch == 8 ? i : i / 3 * pitch + i % 3;
      for (int base_offset = 0; base_offset < kBaseOffsets; ++base_offset) {
        for (const int step : {0, 3}) probes.push_back({pitch, shift, base_offset, step});
      }
    }
  }
  return probes;
}

cudaError_t LaunchDescriptorProbes(const DescriptorProbe* probes, int count, float* out) {
  return Launch(DescriptorProbeKernel, dim3(1), dim3(kThreads), kSharedBytes, cudaStream_t{}, probes, count,
                out);
}

std::string DescribeDescriptorProbes(const std::vector<float>& out) {
  const std::vector<DescriptorProbe> probes = DescriptorProbes();
  std::string text;
  bool right = true;
  for (size_t i = 0; i < probes.size(); ++i) {
    const DescriptorProbe& probe = probes[i];
    if (probe.base_offset == 0 && probe.step == 0) {
      if (probe.shift == 0) text += (i == 0 ? "" : "; ") + std::to_string(probe.pitch) + ':';
      text += ' ' + std::to_string(probe.shift) + '=';
    }
    right = (probe.step == 0 || right) && Right(probe, &out[i * kDescriptorProbeRows * 2]);
    if (probe.step != 0 && right) text += std::to_string(probe.base_offset);
  }
  return text;
}

}  // namespace repvgg::emulator
