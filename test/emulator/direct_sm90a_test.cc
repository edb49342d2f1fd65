#include "cuda/direct_sm90a.h"

#include "test/emulator/maps.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Precision;

void RunTile(Layer layer, Precision precision, int tile) {
  const Problem problem = MakeProblem(layer, RoundTo(precision));
  const Maps in(precision, problem.in), out(precision, problem.expected.size());
  const DeviceArray<unsigned char> weight(cuda::PackDirectSm90a(layer, problem.weight.data(), precision));
  const DeviceArray<float> bias(problem.bias);
  layer.in = in.data();
  layer.weight = weight.data();
  layer.bias = bias.data();
  layer.out = out.data();
  if (cuda::LaunchDirectSm90a(layer, precision, tile, nullptr) != cudaSuccess) Fail("not launched");
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");
  ExpectWithin(Compare(out.Values(), problem.expected), DirectBound(precision));
}

// The widest that divides the channels, of those the one with the fewest pixels: the maps are small.
int ExactTile(const Layer& layer, std::span<const cuda::GemmSm90aTile> tiles) {
  int best = 0;
  for (int i = 0; i < static_cast<int>(tiles.size()); ++i) {
    if (layer.group_out() % tiles[i].columns != 0) continue;
    const bool wider = tiles[i].columns > tiles[best].columns || layer.group_out() % tiles[best].columns != 0;
    if (wider || (tiles[i].columns == tiles[best].columns && tiles[i].rows < tiles[best].rows)) best = i;
  }
  return best;
}

[[maybe_unused]] const bool registered = [] {
  for (const Precision precision : {Precision::kFp16, Precision::kBf16}) {
    const std::string name = std::string("direct sm_90a ") + PrecisionName(precision) + ": ";
    const auto tiles = cuda::ConvolutionSm90aTiles(precision);
    for (const Layer& layer : OfficialLayers()) {
      cases().push_back(
          {name + LayerName(layer), [=] { RunTile(layer, precision, ExactTile(layer, tiles)); }});
    }
    for (int tile = 0; tile < static_cast<int>(tiles.size()); ++tile) {
      const cuda::GemmSm90aTile& shape = tiles[tile];
      cases().push_back({name + "tile " + std::to_string(shape.rows) + " x " + std::to_string(shape.columns) +
                             (shape.ping_pong ? " ping-pong" : " cooperative"),
                         [=] {
                           for (const Schedule schedule :
                                {Schedule::kAscending, Schedule::kDescending, Schedule::kRandom}) {
                             settings().schedule = schedule;
                             // Seven images, of which a tile ends in the midst of one; channels that fill
                             // neither the last sixteen nor the tile; strides, groups, odd sizes; several
                             // tiles for each block.
                             RunTile(MakeLayer(72, shape.columns + 8, 1, 1, 9, 7), precision, tile);
                             RunTile(MakeLayer(80, shape.columns * 2, 1, 2, 7, 7), precision, tile);
                             RunTile(MakeLayer(32, shape.columns, 2, 1, 14, 9), precision, tile);
                             RunTile(MakeLayer(160, 160, 2, 4, 5, 3), precision, tile);
                           }
                         }});
    }
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
