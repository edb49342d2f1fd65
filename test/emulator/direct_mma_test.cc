#include "cuda/direct_mma.h"

#include "cuda/direct_wmma.h"
#include "test/emulator/maps.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Precision;

// A kernel family for maps of one type.
struct Family {
  std::string name;
  Precision precision;
  std::span<const cuda::TileShape> tiles;
  cudaError_t (*launch)(const Layer& layer, Precision precision, int tile, cudaStream_t stream);
};

void RunTile(const Family& family, Layer layer, int tile) {
  const Problem problem = MakeProblem(layer, RoundTo(family.precision));
  const Maps in(family.precision, problem.in), out(family.precision, problem.expected.size());
  const DeviceArray<unsigned char> weight(
      cuda::PackDirectMma(layer, problem.weight.data(), family.precision));
  const DeviceArray<float> bias(problem.bias);
  layer.in = in.data();
  layer.weight = weight.data();
  layer.bias = bias.data();
  layer.out = out.data();
  if (family.launch(layer, family.precision, tile, nullptr) != cudaSuccess) Fail("not launched");
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");
  ExpectWithin(Compare(out.Values(), problem.expected), DirectBound(family.precision));
}

// Of the tiles that divide the channels the one with the fewest pixels (the maps are small), then the widest.
// Without one, the first that is wider.
int ExactTile(const Layer& layer, std::span<const cuda::TileShape> tiles) {
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
        {name + LayerName(layer), [=] { RunTile(family, layer, ExactTile(layer, family.tiles)); }});
  }
  for (int tile = 0; tile < static_cast<int>(family.tiles.size()); ++tile) {
    const cuda::TileShape& shape = family.tiles[tile];
    // Channels that fill neither the tile nor, without `aligned`, whole chunks; pixels of three images that
    // fill a tile and a part of another; 23 chunks of 16 bytes, so that steps straddle taps.
    const int per_chunk = 16 / cuda::ElementSize(family.precision);
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
  for (const Precision precision : {Precision::kFp16, Precision::kBf16, Precision::kTf32}) {
    RegisterCases(
        {PrecisionName(precision), precision, cuda::DirectMmaTileTable(precision), cuda::LaunchDirectMma});
  }
  RegisterCases({"fp16 by wmma", Precision::kFp16, cuda::DirectWmmaTileTable(),
                 [](const Layer& layer, Precision, int tile, cudaStream_t stream) {
                   return cuda::LaunchDirectWmma(layer, tile, stream);
                 }});
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
