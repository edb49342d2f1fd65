// What the tests of planted mistakes share: each has to be seen under every schedule, since a check that
// depends on luck is worth little.
#pragma once

#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "cuda/ptx.cuh"
#include "test/emulator/test.h"

namespace repvgg::emulator {

template <typename Test>
void UnderEverySchedule(Test test) {
  constexpr uint64_t kRandomSeeds = 8;
  for (const Schedule schedule : kSchedules) {
    for (uint64_t seed = 1; seed <= (schedule == Schedule::kRandom ? kRandomSeeds : 1); ++seed) {
      settings().schedule = schedule;
      settings().seed = seed;
      test();
    }
  }
}

// `run` runs a kernel with a mistake, of which any of `faults` may be what is seen.
template <typename Run>
void ExpectReports(Run run, std::initializer_list<Fault> faults) {
  UnderEverySchedule([&] {
    run();
    bool seen = false;
    std::string others;
    for (const Report& report : TakeReports()) {
      for (const Fault fault : faults) seen |= report.fault == fault;
      others += "\n  " + report.message;
    }
    if (!seen) Fail("not seen" + (others.empty() ? "" : "; seen:" + others));
  });
}

// The matrices that the kernels multiply: a is [rows][inner], b is [columns][inner]. Small multiples of a
// half, of which neither fp16 nor fp32 rounds products or sums.
class PlantedProduct {
 public:
  PlantedProduct(int rows, int columns, int inner)
      : rows_(rows), columns_(columns), inner_(inner), a_(Random(rows, 1)), b_(Random(columns, 2)) {}

  cuda::Half* a() const { return a_.data(); }
  cuda::Half* b() const { return b_.data(); }

  // How far c, [rows][columns] or several of those, is from a * b.
  template <typename T>
  Distance DistanceOf(const DeviceArray<T>& c) const {
    std::vector<double> got, expected;
    for (size_t i = 0; i < c.size(); ++i) {
      const size_t row = i / columns_ % rows_, column = i % columns_;
      double sum = 0;
      for (int k = 0; k < inner_; ++k) {
        sum += double{cuda::ToFloat(a_[row * inner_ + k])} * cuda::ToFloat(b_[column * inner_ + k]);
      }
      expected.push_back(sum);
      got.push_back(cuda::ToFloat(c[i]));
    }
    return Compare(got, expected);
  }

 private:
  std::vector<cuda::Half> Random(int count, unsigned seed) const {
    std::minstd_rand random(seed);
    std::vector<cuda::Half> values(count * inner_);
    for (cuda::Half& value : values) {
      value = cuda::FromFloat<cuda::Half>(static_cast<int>(random() % 5) / 2.0f - 1);
    }
    return values;
  }

  int rows_, columns_, inner_;
  DeviceArray<cuda::Half> a_, b_;
};

}  // namespace repvgg::emulator
