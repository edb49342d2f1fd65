// Kernels that overlap in the emulator: a correct one passes under every schedule, and each planted mistake
// is seen.
#include "test/emulator/planted_overlap.h"

#include "test/emulator/planted_test.h"

namespace repvgg::emulator {
namespace {

// Whether the result is right.
bool RunPlanted(PlantOverlap plant) {
  const DeviceArray<uint32_t> between(kPlantOverlapWords, Contents::kScratch);
  const DeviceArray<uint32_t> out(kPlantOverlapWords, Contents::kState);
  LaunchPlantedOverlap(plant, between.data(), out.data());
  for (uint32_t i = 0; i < kPlantOverlapWords; ++i) {
    if (out[i] != 2 * i) return false;
  }
  return true;
}

void ExpectSeen(PlantOverlap plant) {
  ExpectReports([&] { RunPlanted(plant); }, {Fault::kRace});
}

TEST("emulator: a kernel that overlaps the one before it passes") {
  UnderEverySchedule([] {
    if (!RunPlanted(PlantOverlap::kNothing)) Fail("wrong result");
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
