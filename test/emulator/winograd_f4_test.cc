#include "cuda/winograd_f4.h"

#include "test/emulator/device_layer.h"

namespace repvgg::emulator {
namespace {

constexpr auto kF4 = cuda::Algorithm::kWinogradF4;

void RunTile(const Layer& layer, int tile) {
  RunWithin(layer, Precision::kFp32, {kF4, tile, ""}, WinogradBound(Precision::kFp32, 4));
}

[[maybe_unused]] const bool registered = [] {
  const std::string name = "winograd F(4x4) fp32: ";
  const auto tiles = cuda::WinogradF4TileTable();
  for (const Layer& layer : OfficialLayers()) {
    if (layer.stride != 1) continue;
    cases().push_back({name + LayerName(layer), [=] {
                         // The first tile has the fewest rows, and divides most layers.
                         size_t best = layer.group_out() % 64 == 0 ? 0 : 1;
                         while (layer.group_out() % tiles[best].channels != 0) ++best;
                         RunTile(layer, static_cast<int>(best));
                       }});
  }
  for (size_t tile = 0; tile < tiles.size(); ++tile) {
    cases().push_back(
        {name + "tile " + std::to_string(tiles[tile].rows) + " x " + std::to_string(tiles[tile].channels),
         [=] {
           for (const Schedule schedule : kSchedules) {
             settings().schedule = schedule;
             // All remainders of sizes by 4, a partial tile in every dimension, a partial step, several
             // images.
             const int channels = tiles[tile].channels + 8;
             RunTile(MakeLayer(40, channels, 1, 1, 7, 5), static_cast<int>(tile));
             RunTile(MakeLayer(24, 40, 1, 1, 6, 3), static_cast<int>(tile));
             RunTile(MakeLayer(96, 64, 1, 2, 1, 3), static_cast<int>(tile));
             RunTile(MakeLayer(16, 16, 1, 1, 9, 2), static_cast<int>(tile));
             RunTile(MakeLayer(16, 16, 1, 1, 8, 2), static_cast<int>(tile));
           }
         }});
  }
  return true;
}();

// 13 MB an image: three have room, so four are two and two.
TEST("winograd F(4x4) fp32: a batch beyond the workspace, and an image beyond it") {
  Layer layer = MakeLayer(4, 4, 1, 1, 420, 4);
  if (SliceImages(layer, {kF4, 0, ""}) != 2) Fail("slices");
  RunTile(layer, 0);
  layer.height = layer.width = 840;
  if (cuda::WinogradF4Fits(layer)) Fail("an image of 51 MB fits");
}

}  // namespace
}  // namespace repvgg::emulator
