// Hopper's instructions in the emulator: a correct kernel passes under every schedule, and each planted
// mistake is seen.
#include "test/emulator/planted_sm90a.h"

#include "test/emulator/planted_test.h"

namespace repvgg::emulator {
namespace {

Distance RunPlanted(PlantSm90a plant) {
  const PlantedProduct product(kPlantSm90aRows, kPlantSm90aColumns, kPlantSm90aInner);
  const DeviceArray<cuda::Half> c(2 * kPlantSm90aRows * kPlantSm90aColumns);
  LaunchPlantedSm90a(plant, product.a(), product.b(), c.data());
  return product.DistanceOf(c);
}

void ExpectSeen(PlantSm90a plant, std::initializer_list<Fault> faults) {
  ExpectReports([&] { RunPlanted(plant); }, faults);
}

void ExpectWrong(PlantSm90a plant) {
  UnderEverySchedule([&] {
    const Distance distance = RunPlanted(plant);
    if (distance.relative_l2 < 0.1) Fail("the result is right all the same");
    TakeReports();
  });
}

TEST("emulator: a correct kernel with TMA and wgmma passes") {
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
TEST("emulator: sees an operand that is overwritten before all warps have multiplied") {
  ExpectSeen(PlantSm90a::kStoreOverOperand, {Fault::kRace});
}

}  // namespace
}  // namespace repvgg::emulator
