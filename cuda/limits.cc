#include "cuda/limits.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "cuda/device_memory.h"
#include "cuda/gemm_sm90a.h"
#include "cuda/limit_kernels.h"

namespace repvgg::cuda {
namespace {

constexpr const char* kMeasuring = "measuring its limits";
constexpr int kBlocksOfMultiprocessor = 4;
constexpr size_t kCopyBytes = size_t{256} << 20;
constexpr size_t kMegabyte = size_t{1} << 20;
constexpr size_t kMostReadBytes = 16 * kMegabyte;
constexpr int kMostRounds = 1 << 28;

constexpr const char* kUnitNames[] = {"wmma", "mma.sync", "wgmma"};

// The fastest matrix instruction that this build has for the device.
MatrixUnit UnitOf(int architecture, Precision precision) {
  if (architecture == 90 && HasSm90aKernels() && precision != Precision::kTf32) return MatrixUnit::kWgmma;
  return architecture < 75 ? MatrixUnit::kWmma : MatrixUnit::kMma;
}

int Attribute(cudaDeviceAttr attribute, int index) {
  int value = 0;
  Check(cudaDeviceGetAttribute(&value, attribute, index), kMeasuring);
  return value;
}

class Clock {
 public:
  explicit Clock(double seconds) : seconds_(seconds) {}

  // Seconds per round of `enqueue(rounds)`. The number of rounds is increased until a run takes long enough.
  template <typename Enqueue>
  double SecondsOfRound(Enqueue enqueue, cudaStream_t stream) {
    for (int rounds = 1;;) {
      Check(cudaEventRecord(start_.get(), stream), kMeasuring);
      Check(enqueue(rounds), kMeasuring);
      Check(cudaEventRecord(end_.get(), stream), kMeasuring);
      Check(cudaEventSynchronize(end_.get()), kMeasuring);
      float milliseconds = 0;
      Check(cudaEventElapsedTime(&milliseconds, start_.get(), end_.get()), kMeasuring);
      const double took = milliseconds / 1000;
      if (took >= seconds_ / 2 || rounds >= kMostRounds) return took / rounds;
      rounds = static_cast<int>(std::min<double>(
          kMostRounds, std::ceil(rounds * std::clamp(seconds_ / std::max(took, 1e-6), 2.0, 1000.0))));
    }
  }

 private:
  const double seconds_;
  const Event start_ = MakeEvent(EventUse::kTime), end_ = MakeEvent(EventUse::kTime);
};

}  // namespace

DeviceLimits MeasureLimits(int index, Precision precision, double seconds, bool memory) {
  Check(cudaSetDevice(index), kMeasuring);
  const int multiprocessors = Attribute(cudaDevAttrMultiProcessorCount, index);
  const int architecture = Attribute(cudaDevAttrComputeCapabilityMajor, index) * 10 +
                           Attribute(cudaDevAttrComputeCapabilityMinor, index);
  const MatrixUnit unit = UnitOf(architecture, precision);
  const int blocks = kBlocksOfMultiprocessor * multiprocessors;
  const double threads = static_cast<double>(blocks) * kLimitThreads;
  const Stream stream = MakeStream();
  const DeviceMemory out = AllocateDevice(static_cast<size_t>(threads) * sizeof(float));
  float* const sums = static_cast<float*>(out.get());
  Clock clock(seconds);
  const auto measure = [&](auto enqueue) { return clock.SecondsOfRound(enqueue, stream.get()); };

  DeviceLimits limits;
  limits.instruction_set = "sm_" + std::to_string(architecture) + ", " + kUnitNames[static_cast<int>(unit)];
  limits.fma_gflops = 2 * kFmaChains * threads / 1e9 /
                      measure([&](int rounds) { return LaunchFmaLimit(blocks, rounds, sums, stream.get()); });
  if (precision != Precision::kFp32) {
    limits.matrix_gflops = MatrixOperations(precision, unit) * blocks / 1e9 / measure([&](int rounds) {
                             return LaunchMatrixLimit(precision, unit, blocks, rounds, sums, stream.get());
                           });
  }
  if (!memory) return limits;
  const DeviceMemory from = AllocateDevice(kCopyBytes), to = AllocateDevice(kCopyBytes);
  Check(cudaMemsetAsync(from.get(), 0, kCopyBytes, stream.get()), kMeasuring);
  limits.copy_gbps =
      2.0 * kCopyBytes / 1e9 / measure([&](int rounds) {
        cudaError_t error = cudaSuccess;
        for (int i = 0; i < rounds && error == cudaSuccess; ++i) {
          error = cudaMemcpyAsync(to.get(), from.get(), kCopyBytes, cudaMemcpyDeviceToDevice, stream.get());
        }
        return error;
      });
  // Half of L2, which on a V100 or an RTX 3090 has 6 MB.
  const size_t half = static_cast<size_t>(Attribute(cudaDevAttrL2CacheSize, index)) / 2;
  const size_t read_bytes = std::clamp(half / kMegabyte * kMegabyte, kMegabyte, kMostReadBytes);
  limits.l2_gbps = static_cast<double>(read_bytes) * blocks / 1e9 / measure([&](int rounds) {
                     cudaError_t error = cudaSuccess;
                     for (int i = 0; i < rounds && error == cudaSuccess; ++i) {
                       error = LaunchReadLimit(from.get(), read_bytes / 16, blocks, sums, stream.get());
                     }
                     return error;
                   });
  return limits;
}

}  // namespace repvgg::cuda
