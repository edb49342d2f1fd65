// Kernels that overlap in the emulator: a correct one passes under every schedule, and each planted mistake
// is seen.
#include "test/emulator/planted_overlap.h"

#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

template <typename Test>
void UnderEverySchedule(Test test) {
  for (const Schedule schedule : {Schedule::kAscending, Schedule::kDescending, Schedule::kRandom}) {
    settings().schedule = schedule;
    const DeviceArray<uint32_t> between(kPlantOverlapWords, Contents::kScratch);
    const DeviceArray<uint32_t> out(kPlantOverlapWords, Contents::kState);
    test(between.data(), out.data());
  }
}

void ExpectSeen(PlantOverlap plant) {
  UnderEverySchedule([&](uint32_t* between, uint32_t* out) {
    LaunchPlantedOverlap(plant, between, out);
    bool seen = false;
    for (const Report& report : TakeReports()) seen |= report.fault == Fault::kRace;
    if (!seen) Fail("not seen");
  });
}

TEST("emulator: a kernel that overlaps the one before it passes") {
  UnderEverySchedule([](uint32_t* between, uint32_t* out) {
    LaunchPlantedOverlap(PlantOverlap::kNothing, between, out);
    for (uint32_t i = 0; i < kPlantOverlapWords; ++i) {
      if (out[i] != 2 * i) return Fail("wrong result");
    }
  });
}
TEST("emulator: sees a missing wait for the previous kernel") { ExpectSeen(PlantOverlap::kMissingWait); }
TEST("emulator: sees a wait for the previous kernel that others do not learn of") {
  ExpectSeen(PlantOverlap::kMissingBarrier);
}
TEST("emulator: sees a write before the wait for the previous kernel") {
  ExpectSeen(PlantOverlap::kEarlyWrite);
}
TEST("emulator: sees a TMA load before the wait for the previous kernel") {
  ExpectSeen(PlantOverlap::kEarlyLoad);
}

}  // namespace
}  // namespace repvgg::emulator
