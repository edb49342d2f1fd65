#include <cmath>
#include <set>
#include <utility>

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
      double sum = 0;
      for (int round = 0; round < kRounds; ++round) {
        sum = sum * cuda::FmaFactor(i, chain / 4) + cuda::FmaAddend(i, chain % 4);
      }
      expected += sum;
    }
    if (std::abs(out[i] - expected) > 1e-6) Fail("thread " + std::to_string(i));
  }
}

// Equal values would take less power, and so be multiplied faster, than those of a network.
TEST("limits: threads keep values of their own, however long they multiply") {
  const DeviceArray<float> out(kLimitThreads);
  if (cuda::LaunchFmaLimit(1, 20000, out.data(), nullptr) != cudaSuccess) Fail("not launched");
  const std::set<float> values(out.data(), out.data() + kLimitThreads);
  if (values.size() < kLimitThreads - 2) Fail(std::to_string(values.size()) + " different values");
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

// A round takes off what the last one added; by wmma and wgmma, all rounds add the same.
TEST("limits: every warp makes every product") {
  const auto run = [](Precision precision, cuda::MatrixUnit unit, int rounds) {
    const DeviceArray<float> out(kLimitThreads);
    if (cuda::LaunchMatrixLimit(precision, unit, 1, rounds, out.data(), nullptr) != cudaSuccess) {
      Fail("not launched");
    }
    return std::vector<float>(out.data(), out.data() + out.size());
  };
  const auto compare = [](const std::vector<float>& got, const std::vector<float>& once, int times) {
    for (size_t i = 0; i < got.size(); ++i) {
      if (once[i] == 0 || std::abs(got[i] - times * once[i]) > 1e-6) Fail("thread " + std::to_string(i));
    }
  };
  for (const Precision precision : {Precision::kTf32, Precision::kFp16, Precision::kBf16}) {
    const auto once = run(precision, cuda::MatrixUnit::kMma, 1);
    compare(run(precision, cuda::MatrixUnit::kMma, 2), once, 0);
    compare(run(precision, cuda::MatrixUnit::kMma, 3), once, 1);
  }
  for (const auto& [precision, unit] : {std::pair(Precision::kFp16, cuda::MatrixUnit::kWmma),
                                        {Precision::kFp16, cuda::MatrixUnit::kWgmma},
                                        {Precision::kBf16, cuda::MatrixUnit::kWgmma}}) {
    compare(run(precision, unit, 3), run(precision, unit, 1), 3);
  }
}

}  // namespace
}  // namespace repvgg::emulator
