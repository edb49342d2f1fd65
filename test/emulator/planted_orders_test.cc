// What the emulator takes for a race: actions on a word, one of them a write, of threads that no barrier
// orders. Under every schedule, and so in either order.
#include "test/emulator/planted_orders.h"

#include "test/emulator/planted_test.h"

namespace repvgg::emulator {
namespace {

constexpr auto kRead = PlantedAction::kRead, kWrite = PlantedAction::kWrite;

void ExpectOrdered(PlantedAction before, PlantedOrder order, PlantedAction after, PlantedAction last = {}) {
  UnderEverySchedule([&] {
    LaunchPlantedOrder(before, order, after, last);
    ExpectNoFaults();
  });
}
void ExpectRace(PlantedAction before, PlantedOrder order, PlantedAction after, PlantedAction last = {}) {
  ExpectReports([&] { LaunchPlantedOrder(before, order, after, last); }, {Fault::kRace});
}

TEST("emulator: a thread needs no barrier for what it does itself") {
  ExpectOrdered({kWrite, 40, 40}, PlantedOrder::kNone, {kRead, 40, 40});
  ExpectOrdered({kRead, 40, 40}, PlantedOrder::kNone, {kWrite, 40, 40});
}
TEST("emulator: many may read at once, after a barrier and without one") {
  ExpectOrdered({kRead, 0, 159}, PlantedOrder::kNone, {kRead, 0, 159});
  ExpectOrdered({kRead, 0, 159}, PlantedOrder::kBlock, {kRead, 0, 159});
}
TEST("emulator: lanes of a warp are ordered by a barrier of the warp or of the block") {
  for (const auto order : {PlantedOrder::kWarps, PlantedOrder::kBlock, PlantedOrder::kTwoWarps}) {
    ExpectOrdered({kWrite, 0, 0}, order, {kRead, 0, 31});
    ExpectOrdered({kRead, 0, 31}, order, {kWrite, 31, 31});
    ExpectOrdered({kWrite, 0, 0}, order, {kWrite, 31, 31});
  }
  ExpectRace({kWrite, 0, 0}, PlantedOrder::kNone, {kRead, 31, 31});
  ExpectRace({kRead, 0, 31}, PlantedOrder::kNone, {kWrite, 31, 31});
  ExpectRace({kWrite, 0, 0}, PlantedOrder::kNone, {kWrite, 31, 31});
  ExpectOrdered({kRead, 0, 31}, PlantedOrder::kWarps, {kRead, 31, 31}, {kWrite, 31, 31});
  // In ascending order lane 31 goes first here, and lane 30 last.
  ExpectRace({kRead, 0, 31}, PlantedOrder::kWarps, {kRead, 0, 31}, {kWrite, 30, 30});
}
TEST("emulator: warps are ordered by a barrier of the block, not by barriers of each") {
  for (const auto& [ordered, order] :
       {std::pair{true, PlantedOrder::kBlock}, {false, PlantedOrder::kWarps}, {false, PlantedOrder::kNone}}) {
    const auto expect = [ordered](PlantedAction before, PlantedOrder order, PlantedAction after) {
      ordered ? ExpectOrdered(before, order, after) : ExpectRace(before, order, after);
    };
    expect({kWrite, 0, 0}, order, {kRead, 32, 32});
    expect({kRead, 0, 0}, order, {kWrite, 32, 32});
    expect({kWrite, 0, 0}, order, {kWrite, 32, 32});
    expect({kRead, 0, 31}, order, {kWrite, 32, 32});
    expect({kRead, 0, 63}, order, {kWrite, 0, 0});
  }
  ExpectOrdered({kRead, 0, 0}, PlantedOrder::kBlock, {kRead, 40, 40}, {kWrite, 40, 40});
  ExpectRace({kRead, 0, 63}, PlantedOrder::kBlock, {kRead, 0, 63}, {kWrite, 63, 63});
}
TEST("emulator: a barrier of some warps orders these, and no others") {
  ExpectOrdered({kWrite, 0, 0}, PlantedOrder::kTwoWarps, {kRead, 32, 63});
  ExpectOrdered({kRead, 0, 31}, PlantedOrder::kTwoWarps, {kWrite, 32, 32});
  ExpectRace({kWrite, 0, 0}, PlantedOrder::kTwoWarps, {kRead, 64, 64});
  ExpectRace({kRead, 0, 31}, PlantedOrder::kTwoWarps, {kWrite, 64, 64});
  // Warp 3 reads after warps 0 and 1, which may.
  ExpectRace({kWrite, 64, 64}, PlantedOrder::kThreeWarps, {kRead, 0, 127});
}

}  // namespace
}  // namespace repvgg::emulator
