// The emulator itself: a correct kernel passes under every schedule, and each planted mistake is seen.
#include "test/emulator/planted_faults.h"
#include "test/emulator/planted_test.h"

namespace repvgg::emulator {
namespace {

Distance RunPlanted(Plant plant) {
  const PlantedProduct product(kPlantRows, kPlantColumns, kPlantInner);
  const DeviceArray<float> c(kPlantRows * kPlantColumns);
  LaunchPlanted(plant, product.a(), product.b(), c.data());
  return product.DistanceOf(c);
}

void ExpectSeen(Plant plant, Fault fault) {
  ExpectReports([&] { RunPlanted(plant); }, {fault});
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
