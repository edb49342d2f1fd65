// Clusters in the emulator: a correct kernel passes under every schedule, and each planted mistake is seen.
#include "test/emulator/planted_cluster.h"

#include "test/emulator/planted_test.h"

namespace repvgg::emulator {
namespace {

Distance RunPlanted(PlantCluster plant) {
  const PlantedProduct product(2 * kPlantClusterRows, kPlantClusterColumns, kPlantClusterInner);
  const DeviceArray<float> c(2 * kPlantClusterRows * kPlantClusterColumns);
  if (LaunchPlantedCluster(plant, product.a(), product.b(), c.data()) != cudaSuccess) Fail("not launched");
  return product.DistanceOf(c);
}

void ExpectSeen(PlantCluster plant, std::initializer_list<Fault> faults) {
  ExpectReports([&] { RunPlanted(plant); }, faults);
}

TEST("emulator: a correct kernel in a cluster passes") {
  UnderEverySchedule([] { ExpectWithin(RunPlanted(PlantCluster::kNothing), {0, 0}); });
}
TEST("emulator: sees a stage that the other block has not been given back") {
  ExpectSeen(PlantCluster::kMissingPeerArrive, {Fault::kRace, Fault::kInFlight});
}
TEST("emulator: sees a stage that the other block is given back during its products") {
  ExpectSeen(PlantCluster::kEarlyPeerArrive, {Fault::kRace, Fault::kInFlight});
}
TEST("emulator: sees arrivals at the wrong block of a cluster") {
  ExpectSeen(PlantCluster::kWrongRank, {Fault::kRace, Fault::kInFlight, Fault::kDivergence});
}
TEST("emulator: sees another block's stage that is filled too early") {
  ExpectSeen(PlantCluster::kMissingEmptyWait, {Fault::kRace, Fault::kInFlight});
}
TEST("emulator: sees another block's loads that are not waited for") {
  ExpectSeen(PlantCluster::kHalfBytes, {Fault::kRace, Fault::kInFlight, Fault::kDivergence});
}
TEST("emulator: sees a barrier of another block that may not be initialised") {
  ExpectSeen(PlantCluster::kMissingSetupBarrier, {Fault::kRace, Fault::kUninitialised});
}
TEST("emulator: sees a block that ends before another arrives at its barriers") {
  ExpectSeen(PlantCluster::kMissingEndBarrier, {Fault::kInFlight});
}

}  // namespace
}  // namespace repvgg::emulator
