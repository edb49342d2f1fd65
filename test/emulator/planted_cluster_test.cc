// Clusters in the emulator: a correct kernel passes under every schedule, and each planted mistake is seen.
#include "test/emulator/planted_cluster.h"

#include <random>

#include "cuda/ptx.cuh"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Half;

Distance RunPlanted(PlantCluster plant) {
  std::minstd_rand random(1);
  std::vector<Half> a(2 * kPlantClusterRows * kPlantClusterInner),
      b(kPlantClusterColumns * kPlantClusterInner);
  for (Half& value : a) value.bits = FloatToHalf(static_cast<int>(random() % 5) / 2.0f - 1);
  for (Half& value : b) value.bits = FloatToHalf(static_cast<int>(random() % 5) / 2.0f - 1);
  const DeviceArray<Half> device_a(a), device_b(b);
  const DeviceArray<float> c(2 * kPlantClusterRows * kPlantClusterColumns);
  if (LaunchPlantedCluster(plant, device_a.data(), device_b.data(), c.data()) != cudaSuccess) {
    Fail("not launched");
  }
  std::vector<double> got, expected;
  for (size_t i = 0; i < c.size(); ++i) {
    const Half* const row = &a[i / kPlantClusterColumns * kPlantClusterInner];
    const Half* const column = &b[i % kPlantClusterColumns * kPlantClusterInner];
    double sum = 0;
    for (int k = 0; k < kPlantClusterInner; ++k) {
      sum += double{HalfToFloat(row[k].bits)} * HalfToFloat(column[k].bits);
    }
    expected.push_back(sum);
    got.push_back(c[i]);
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

void ExpectSeen(PlantCluster plant, std::initializer_list<Fault> faults) {
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

TEST("emulator: a correct kernel in a cluster passes") {
  // Small integers and halves: no rounding.
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
