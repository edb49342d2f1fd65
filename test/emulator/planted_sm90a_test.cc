// Hopper's instructions in the emulator: a correct kernel passes under every schedule, and each planted
// mistake is seen.
#include "test/emulator/planted_sm90a.h"

#include <random>

#include "cuda/ptx.cuh"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Half;

Distance RunPlanted(PlantSm90a plant) {
  std::minstd_rand random(1);
  std::vector<Half> a(kPlantSm90aRows * kPlantSm90aInner), b(kPlantSm90aColumns * kPlantSm90aInner);
  for (Half& value : a) value.bits = FloatToHalf(static_cast<int>(random() % 5) / 2.0f - 1);
  for (Half& value : b) value.bits = FloatToHalf(static_cast<int>(random() % 5) / 2.0f - 1);
  const DeviceArray<Half> device_a(a), device_b(b), c(2 * kPlantSm90aRows * kPlantSm90aColumns);
  LaunchPlantedSm90a(plant, device_a.data(), device_b.data(), c.data());
  std::vector<double> got, expected;
  for (size_t i = 0; i < c.size(); ++i) {
    const int m = static_cast<int>(i) / kPlantSm90aColumns % kPlantSm90aRows;
    const int n = static_cast<int>(i) % kPlantSm90aColumns;
    double sum = 0;
    for (int k = 0; k < kPlantSm90aInner; ++k) {
      sum += double{HalfToFloat(a[m * kPlantSm90aInner + k].bits)} *
             HalfToFloat(b[n * kPlantSm90aInner + k].bits);
    }
    expected.push_back(sum);
    got.push_back(HalfToFloat(c[i].bits));
  }
  return Compare(got, expected);
}

template <typename Test>
void UnderEverySchedule(Test test) {
  for (const Schedule schedule : {Schedule::kAscending, Schedule::kDescending, Schedule::kRandom}) {
    for (uint64_t seed = 1; seed <= (schedule == Schedule::kRandom ? 8 : 1); ++seed) {
      settings().schedule = schedule;
      settings().seed = seed;
      test();
    }
  }
}

// Whatever the timing was: a mistake that shows only when a copy is late or early is found all the same.
void ExpectSeen(PlantSm90a plant, std::initializer_list<Fault> faults) {
  UnderEverySchedule([&] {
    RunPlanted(plant);
    bool seen = false;
    std::string others;
    for (const Report& report : TakeReports()) {
      for (const Fault fault : faults) seen |= report.fault == fault;
      others += "\n  " + report.message;
    }
    if (!seen) Fail("not seen" + (others.empty() ? "" : "; seen:" + others));
  });
}

void ExpectWrong(PlantSm90a plant) {
  UnderEverySchedule([&] {
    const Distance distance = RunPlanted(plant);
    if (distance.relative_l2 < 0.1) Fail("the result is right all the same");
    TakeReports();
  });
}

TEST("emulator: a correct kernel with TMA and wgmma passes") {
  // Small integers and halves: no rounding.
  UnderEverySchedule([] { ExpectWithin(RunPlanted(PlantSm90a::kNothing), {0, 0}); });
}
// Under some schedules what was not waited for is not there at all, or still on its way.
TEST("emulator: sees a missing wait for a TMA load") {
  ExpectSeen(PlantSm90a::kMissingFullWait, {Fault::kRace, Fault::kInFlight, Fault::kUninitialised});
}
TEST("emulator: sees a wait for the wrong phase") {
  ExpectSeen(PlantSm90a::kWrongPhase,
             {Fault::kRace, Fault::kInFlight, Fault::kUninitialised, Fault::kDivergence});
}
TEST("emulator: sees a stage that is filled too early") {
  ExpectSeen(PlantSm90a::kMissingEmptyWait, {Fault::kRace, Fault::kInFlight});
}
TEST("emulator: sees sums that are used before their products") {
  ExpectWrong(PlantSm90a::kMissingProductWait);
}
TEST("emulator: sees a stage that is given back during its products") {
  // Or a warp that is late finds its phase gone, and waits for ever.
  ExpectSeen(PlantSm90a::kEarlyRelease, {Fault::kRace, Fault::kInFlight, Fault::kDivergence});
}
TEST("emulator: sees a missing fence before wgmma") {
  ExpectSeen(PlantSm90a::kMissingProductFence, {Fault::kRace});
}
TEST("emulator: sees a wrong start in a descriptor") { ExpectWrong(PlantSm90a::kWrongDescriptor); }
TEST("emulator: sees a wrong distance of blocks in a descriptor") { ExpectWrong(PlantSm90a::kWrongBlocks); }
TEST("emulator: sees a barrier that expects other bytes than come") {
  ExpectSeen(PlantSm90a::kWrongBytes, {Fault::kDivergence});
}
TEST("emulator: sees a missing fence before a TMA store") {
  ExpectSeen(PlantSm90a::kMissingProxyFence, {Fault::kRace});
}
TEST("emulator: sees a missing barrier before a TMA store") {
  ExpectSeen(PlantSm90a::kMissingStoreBarrier, {Fault::kRace, Fault::kUninitialised});
}
TEST("emulator: sees an overwritten source of a TMA store") {
  ExpectSeen(PlantSm90a::kMissingStoreWait, {Fault::kInFlight});
}

}  // namespace
}  // namespace repvgg::emulator
