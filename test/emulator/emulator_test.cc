// The emulator itself: a correct kernel passes under every schedule, and each planted mistake is seen.
#include <random>

#include "test/emulator/planted_faults.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Half;

// Runs the kernel with `plant` and returns how far its results are off.
Distance RunPlanted(Plant plant) {
  std::minstd_rand random(1);
  std::vector<Half> a(kPlantRows * kPlantInner), b(kPlantColumns * kPlantInner);
  for (Half& value : a) value.bits = FloatToHalf(static_cast<int>(random() % 17) / 8.0f - 1);
  for (Half& value : b) value.bits = FloatToHalf(static_cast<int>(random() % 17) / 8.0f - 1);
  const DeviceArray<Half> device_a(a), device_b(b);
  const DeviceArray<float> c(kPlantRows * kPlantColumns);
  LaunchPlanted(plant, device_a.data(), device_b.data(), c.data());
  std::vector<double> got, expected;
  for (int m = 0; m < kPlantRows; ++m) {
    for (int n = 0; n < kPlantColumns; ++n) {
      double sum = 0;
      for (int k = 0; k < kPlantInner; ++k) {
        sum += double{HalfToFloat(a[m * kPlantInner + k].bits)} * HalfToFloat(b[n * kPlantInner + k].bits);
      }
      expected.push_back(sum);
      got.push_back(c[m * kPlantColumns + n]);
    }
  }
  return Compare(got, expected);
}

template <typename Test>
void UnderEverySchedule(Test test) {
  for (const Schedule schedule : {Schedule::kAscending, Schedule::kDescending, Schedule::kRandom}) {
    for (uint64_t seed = 1; seed <= (schedule == Schedule::kRandom ? 5 : 1); ++seed) {
      settings().schedule = schedule;
      settings().seed = seed;
      test();
    }
  }
}

// The fault has to be seen under every schedule: a check that depends on luck is worth little.
void ExpectSeen(Plant plant, Fault fault) {
  UnderEverySchedule([&] {
    RunPlanted(plant);
    bool seen = false;
    std::string others;
    for (const Report& report : TakeReports()) {
      seen |= report.fault == fault;
      others += "\n  " + report.message;
    }
    if (!seen)
      Fail(std::string("not seen: ") + FaultName(fault) + (others.empty() ? "" : "; seen:" + others));
  });
}

TEST("emulator: a correct kernel passes") {
  UnderEverySchedule([] { ExpectWithin(RunPlanted(Plant::kNothing), {0, 0}); });
}

TEST("emulator: sees a wrong index in the result") {
  const Distance distance = RunPlanted(Plant::kWrongIndex);
  if (distance.relative_l2 < 0.1) Fail("two rows have changed places and the result is the same");
}

TEST("emulator: sees a missing wait for cp.async") { ExpectSeen(Plant::kMissingWait, Fault::kInFlight); }
TEST("emulator: sees a missing barrier after the wait") { ExpectSeen(Plant::kMissingBarrier, Fault::kRace); }
TEST("emulator: sees a missing barrier before a stage is reused") {
  ExpectSeen(Plant::kMissingReuseBarrier, Fault::kRace);
}
TEST("emulator: sees a missing __syncwarp") { ExpectSeen(Plant::kMissingWarpBarrier, Fault::kRace); }
TEST("emulator: sees a read beyond shared memory") { ExpectSeen(Plant::kSharedOverrun, Fault::kOutOfBounds); }
TEST("emulator: sees a write beyond global memory") {
  ExpectSeen(Plant::kGlobalOverrun, Fault::kOutOfBounds);
}
TEST("emulator: sees a read of shared memory that nobody wrote") {
  ExpectSeen(Plant::kUninitialised, Fault::kUninitialised);
}
TEST("emulator: sees a misaligned row of ldmatrix") { ExpectSeen(Plant::kMisaligned, Fault::kMisaligned); }
TEST("emulator: sees an index beyond a local array") {
  ExpectSeen(Plant::kLocalOverrun, Fault::kOutOfBounds);
}
TEST("emulator: sees a write to an input") { ExpectSeen(Plant::kInputWritten, Fault::kReadOnly); }
TEST("emulator: sees an output written twice") { ExpectSeen(Plant::kOutputTwice, Fault::kWrittenTwice); }
TEST("emulator: sees a lane that misses a warp operation") {
  ExpectSeen(Plant::kDivergentWarp, Fault::kDivergence);
}
TEST("emulator: sees a warp that misses a barrier") {
  ExpectSeen(Plant::kDivergentBarrier, Fault::kDivergence);
}

}  // namespace
}  // namespace repvgg::emulator
