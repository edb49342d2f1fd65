#include "cuda/winograd_f2.h"

#include "test/emulator/device_layer.h"

namespace repvgg::emulator {
namespace {

constexpr Precision kWinogradPrecisions[] = {Precision::kFp32, Precision::kFp16, Precision::kBf16};

void RunTile(const Layer& layer, Precision precision, int tile) {
  RunWithin(layer, precision, {cuda::Algorithm::kWinogradF2, tile, ""}, WinogradBound(precision, 2));
}

[[maybe_unused]] const bool registered = [] {
  for (const Precision precision : kWinogradPrecisions) {
    const std::string name = std::string("winograd F(2x2) ") + PrecisionName(precision) + ": ";
    const int tiles = static_cast<int>(cuda::WinogradF2TileTable(precision).size());
    for (const Layer& layer : precision == Precision::kBf16 ? NarrowLayers() : OfficialLayers()) {
      if (layer.stride != 1) continue;
      cases().push_back({name + LayerName(layer), [=] {
                           // The last tile is the one of fewest channels, and divides most layers.
                           RunTile(layer, precision, layer.group_out() % 64 == 0 ? 0 : tiles - 1);
                         }});
    }
    for (int tile = 0; tile < tiles; ++tile) {
      const auto& shape = cuda::WinogradF2TileTable(precision)[tile];
      cases().push_back(
          {name + "tile " + std::to_string(shape.rows) + " x " + std::to_string(shape.channels), [=] {
             for (const Schedule schedule : kSchedules) {
               settings().schedule = schedule;
               // Odd and even sizes, a partial tile in every dimension, a partial step, several images.
               RunTile(MakeLayer(40, shape.channels + 8, 1, 1, 7, 5), precision, tile);
               RunTile(MakeLayer(24, 40, 1, 1, 6, 3), precision, tile);
               RunTile(MakeLayer(96, 64, 1, 2, 1, 3), precision, tile);
             }
           }});
    }
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
