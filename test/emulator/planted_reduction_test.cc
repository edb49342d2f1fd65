// Memory that the blocks of a cluster share, in the emulator: a correct kernel passes under every schedule,
// and each planted mistake is seen.
#include "test/emulator/planted_reduction.h"

#include "test/emulator/layers.h"
#include "test/emulator/planted_test.h"

namespace repvgg::emulator {
namespace {

// Whether the sums are those of the parts in order, to the bit.
bool RunPlanted(PlantReduction plant) {
  constexpr int kValues = kPlantReductionValues;
  const std::vector<float> in = RandomNormal(kPlantReductionBlocks * kValues, 1, 1);
  const DeviceArray<float> device_in(in), out(kValues);
  if (LaunchPlantedReduction(plant, device_in.data(), out.data()) != cudaSuccess) Fail("not launched");
  bool right = true;
  for (int i = 0; i < kValues; ++i) {
    float sum = 0;
    for (int block = 0; block < kPlantReductionBlocks; ++block) sum += in[block * kValues + i];
    right &= sum == out[i];
  }
  return right;
}

void ExpectSeen(PlantReduction plant, std::initializer_list<Fault> faults) {
  ExpectReports([=] { RunPlanted(plant); }, faults);
}

TEST("emulator: a correct kernel that reads other blocks' memory passes") {
  UnderEverySchedule([] {
    if (!RunPlanted(PlantReduction::kNothing)) Fail("other sums");
  });
}
TEST("emulator: sees another block's memory that is read before it is written") {
  ExpectSeen(PlantReduction::kMissingBarrier, {Fault::kRace, Fault::kUninitialised});
}
TEST("emulator: sees a block that ends before another has read its memory") {
  ExpectSeen(PlantReduction::kMissingEndBarrier, {Fault::kInFlight});
}
TEST("emulator: sees memory that is written over before another block has read it") {
  ExpectSeen(PlantReduction::kEarlyReuse, {Fault::kRace});
}
TEST("emulator: sees a read of a block that the cluster does not have") {
  ExpectSeen(PlantReduction::kBeyondCluster, {Fault::kOutOfBounds});
}
TEST("emulator: sums of the wrong blocks, or in another order, have other bits") {
  UnderEverySchedule([] {
    for (const PlantReduction plant : {PlantReduction::kWrongRank, PlantReduction::kWrongOrder}) {
      if (RunPlanted(plant)) Fail("not seen");
    }
  });
}

}  // namespace
}  // namespace repvgg::emulator
