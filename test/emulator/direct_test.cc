// The direct kernels that are no Hopper's: every tile, and every layer of the official networks.
#include "test/emulator/device_layer.h"

namespace repvgg::emulator {
namespace {

// A kernel family for maps of one type.
struct Family {
  std::string name;
  Precision precision;
  cuda::Algorithm algorithm = cuda::Algorithm::kDirect;
  std::span<const cuda::ConvolutionTile> tiles() const { return TilesOf(algorithm, precision); }
};

void RunTile(const Family& family, const Layer& layer, int tile) {
  RunWithin(layer, family.precision, {family.algorithm, tile, ""}, DirectBound(family.precision));
}

// Of the tiles that divide the channels the one with the fewest pixels (the maps are small), then the widest.
// Without one, the first that is wider.
int ExactTile(const Layer& layer, std::span<const cuda::ConvolutionTile> tiles) {
  int best = -1;
  for (int i = 0; i < static_cast<int>(tiles.size()); ++i) {
    if (!tiles[i].aligned || layer.group_out() % tiles[i].channels != 0) continue;
    if (best < 0 || tiles[i].rows < tiles[best].rows ||
        (tiles[i].rows == tiles[best].rows && tiles[i].channels > tiles[best].channels)) {
      best = i;
    }
  }
  if (best >= 0) return best;
  best = 0;
  while (tiles[best].channels < layer.group_out()) ++best;
  return best;
}

void RegisterCases(const Family& family) {
  const std::string name = "direct " + family.name + ": ";
  for (const Layer& layer : family.precision == Precision::kBf16 ? NarrowLayers() : OfficialLayers()) {
    cases().push_back(
        {name + LayerName(layer), [=] { RunTile(family, layer, ExactTile(layer, family.tiles())); }});
  }
  for (int tile = 0; tile < static_cast<int>(family.tiles().size()); ++tile) {
    const cuda::ConvolutionTile& shape = family.tiles()[tile];
    // Channels that fill neither the tile nor, without `aligned`, whole chunks; pixels of three images that
    // fill a tile and a part of another; an odd number of chunks of 16 bytes, so that steps straddle taps.
    const int per_chunk = 16 / ElementSize(family.precision);
    const Layer layer =
        MakeLayer(shape.aligned ? 23 * per_chunk : 23, shape.channels + (shape.aligned ? 8 : 5), 1, 1,
                  shape.rows > 128 ? 10 : 7, 3);
    cases().push_back({name + "tile " + std::to_string(shape.rows) + " x " + std::to_string(shape.channels) +
                           (shape.aligned ? "" : " element-wise"),
                       [=] {
                         for (const Schedule schedule : kSchedules) {
                           settings().schedule = schedule;
                           RunTile(family, layer, tile);
                         }
                       }});
  }
}

[[maybe_unused]] const bool registered = [] {
  for (const Precision precision : kPrecisions) RegisterCases({PrecisionName(precision), precision});
  RegisterCases({"fp16 by wmma", Precision::kFp16, cuda::Algorithm::kDirectWmma});
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
