#include "cuda/direct_fp32.h"

#include "test/emulator/layers.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

void RunTile(Layer layer, int tile) {
  const Problem problem = MakeProblem(layer, RoundTo(cuda::Precision::kFp32));
  const DeviceArray<float> in(problem.in), bias(problem.bias);
  const DeviceArray<float> weight(cuda::PackDirectFp32(layer, problem.weight.data()));
  // Long sums are written in parts.
  const bool parts = layer.group_in() * 9 > 1024;
  const DeviceArray<float> out(problem.expected.size(), parts ? Contents::kScratch : Contents::kOutput);
  layer.in = in.data();
  layer.weight = weight.data();
  layer.bias = bias.data();
  layer.out = out.data();
  if (cuda::LaunchDirectFp32(layer, tile, nullptr) != cudaSuccess) Fail("not launched");
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");
  ExpectWithin(Compare({out.data(), out.data() + out.size()}, problem.expected),
               DirectBound(cuda::Precision::kFp32));
}

// Of the tiles that divide the channels the one with the fewest pixels (the maps are small), then the widest.
int ExactTile(const Layer& layer) {
  const auto tiles = cuda::DirectFp32TileTable();
  int best = -1;
  for (int i = 0; i < static_cast<int>(tiles.size()); ++i) {
    if (!tiles[i].aligned || layer.group_out() % tiles[i].channels != 0) continue;
    if (best < 0 || tiles[i].rows < tiles[best].rows ||
        (tiles[i].rows == tiles[best].rows && tiles[i].channels > tiles[best].channels)) {
      best = i;
    }
  }
  return best;
}

[[maybe_unused]] const bool registered = [] {
  for (const Layer& layer : OfficialLayers()) {
    cases().push_back({"direct fp32: " + LayerName(layer), [layer] { RunTile(layer, ExactTile(layer)); }});
  }
  const auto tiles = cuda::DirectFp32TileTable();
  for (int tile = 0; tile < static_cast<int>(tiles.size()); ++tile) {
    // Channels that fill neither the tile nor, without `aligned`, whole chunks; pixels of three images that
    // fill a tile and a part of another; 11 chunks, so that steps straddle taps.
    const bool aligned = tiles[tile].aligned;
    const Layer layer = MakeLayer(aligned ? 44 : 43, tiles[tile].channels + (aligned ? 8 : 5), 1, 1,
                                  tiles[tile].rows > 128 ? 10 : 7, 3);
    cases().push_back({"direct fp32: tile " + std::to_string(tiles[tile].rows) + " x " +
                           std::to_string(tiles[tile].channels) + (aligned ? "" : " element-wise"),
                       [layer, tile] {
                         for (const Schedule schedule : kSchedules) {
                           settings().schedule = schedule;
                           RunTile(layer, tile);
                         }
                       }});
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
