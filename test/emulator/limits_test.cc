#include <cmath>

#include "cuda/limit_kernels.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::kLimitThreads;

// Loops that the benchmark divides by must do what it counts.
TEST("limits: every thread does every multiply-add") {
  constexpr int kBlocks = 2, kRounds = 3;
  const DeviceArray<float> out(kBlocks * kLimitThreads);
  if (cuda::LaunchFmaLimit(kBlocks, kRounds, out.data(), nullptr) != cudaSuccess) Fail("not launched");
  for (int i = 0; i < kBlocks * kLimitThreads; ++i) {
    double expected = 0;
    for (int chain = 0; chain < cuda::kFmaChains; ++chain) {
      double sum = i % kLimitThreads + chain;
      for (int round = 0; round < kRounds; ++round) sum = sum * 0.999f + 0.999f;
      expected += sum;
    }
    if (std::abs(out[i] - expected) > 1e-3) Fail("thread " + std::to_string(i));
  }
}

TEST("limits: every block reads everything once") {
  constexpr int kBlocks = 3, kWords = 8 * kLimitThreads;
  const DeviceArray<float> in(std::vector<float>(kWords * 4, 0.5f));
  const DeviceArray<float> out(kBlocks * kLimitThreads);
  if (cuda::LaunchReadLimit(in.data(), kWords, kBlocks, out.data(), nullptr) != cudaSuccess)
    Fail("not launched");
  for (int i = 0; i < kBlocks * kLimitThreads; ++i) {
    if (out[i] != 4 * 0.5f * kWords / kLimitThreads) Fail("thread " + std::to_string(i));
  }
}

// 16-bit operands of about 0.07: each of a chain's products adds 16 of them.
TEST("limits: every warp makes every product") {
  const DeviceArray<float> few(kLimitThreads), many(kLimitThreads);
  const auto launch = [&](int rounds, const DeviceArray<float>& out) {
    return cuda::LaunchMatrixLimit(cuda::Precision::kFp16, cuda::MatrixUnit::kMma, 1, rounds, out.data(),
                                   nullptr);
  };
  if (launch(1, few) != cudaSuccess || launch(3, many) != cudaSuccess) Fail("not launched");
  for (int i = 0; i < kLimitThreads; ++i) {
    if (!(few[i] > 0) || std::abs(many[i] / few[i] - 3) > 1e-4) Fail("thread " + std::to_string(i));
  }
}

}  // namespace
}  // namespace repvgg::emulator
