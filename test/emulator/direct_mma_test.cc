#include "cuda/direct_mma.h"

#include "cuda/direct_wmma.h"
#include "test/emulator/layers.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::BFloat16;
using cuda::Half;
using cuda::Precision;

template <typename T>
struct Type;
template <>
struct Type<Half> {
  static constexpr Precision kPrecision = Precision::kFp16;
  static constexpr Distance kBound = {3e-4, 4e-3};
  static constexpr Round kRound = AsHalf;
  static constexpr const char* kName = "fp16";
};
template <>
struct Type<BFloat16> {
  static constexpr Precision kPrecision = Precision::kBf16;
  static constexpr Distance kBound = {2.5e-3, 3e-2};
  static constexpr Round kRound = AsBFloat16;
  static constexpr const char* kName = "bf16";
};
template <>
struct Type<float> {
  static constexpr Precision kPrecision = Precision::kTf32;
  static constexpr Distance kBound = {6e-4, 4e-3};
  static constexpr Round kRound = AsTf32;
  static constexpr const char* kName = "tf32";
};

// A kernel family for maps of one type.
struct Family {
  const char* name;
  std::span<const cuda::DirectMmaTile> tiles;
  cudaError_t (*launch)(const Layer& layer, int tile);
};

template <typename T>
void RunTile(const Family& family, Layer layer, int tile) {
  const Problem problem = MakeProblem(layer, Type<T>::kRound);
  std::vector<T> in;
  for (const float value : problem.in) in.push_back(cuda::FromFloat<T>(value));
  const DeviceArray<T> device_in(in);
  const DeviceArray<unsigned char> weight(
      cuda::PackDirectMma(layer, problem.weight.data(), Type<T>::kPrecision));
  const DeviceArray<float> bias(problem.bias);
  const DeviceArray<T> out(problem.expected.size());
  layer.in = device_in.data();
  layer.weight = weight.data();
  layer.bias = bias.data();
  layer.out = out.data();
  if (family.launch(layer, tile) != cudaSuccess) Fail("not launched");
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");
  std::vector<double> got;
  for (size_t i = 0; i < out.size(); ++i) got.push_back(cuda::ToFloat(out[i]));
  ExpectWithin(Compare(got, problem.expected), Type<T>::kBound);
}

// Of the tiles that divide the channels the one with the fewest pixels (the maps are small), then the widest.
// Without one, the first that is wider.
int ExactTile(const Layer& layer, std::span<const cuda::DirectMmaTile> tiles) {
  int best = -1;
  for (int i = 0; i < static_cast<int>(tiles.size()); ++i) {
    if (!tiles[i].aligned || layer.group_out() % tiles[i].channels != 0) continue;
    if (best < 0 || tiles[i].pixels < tiles[best].pixels ||
        (tiles[i].pixels == tiles[best].pixels && tiles[i].channels > tiles[best].channels)) {
      best = i;
    }
  }
  if (best >= 0) return best;
  best = 0;
  while (tiles[best].channels < layer.group_out()) ++best;
  return best;
}

template <typename T>
void RegisterCases(const Family& family) {
  const std::string name = std::string("direct ") + family.name + ": ";
  for (const Layer& layer : std::is_same_v<T, BFloat16> ? NarrowLayers() : OfficialLayers()) {
    cases().push_back(
        {name + LayerName(layer), [=] { RunTile<T>(family, layer, ExactTile(layer, family.tiles)); }});
  }
  for (int tile = 0; tile < static_cast<int>(family.tiles.size()); ++tile) {
    const cuda::DirectMmaTile& shape = family.tiles[tile];
    // Channels that fill neither the tile nor, without `aligned`, whole chunks; pixels of three images that
    // fill a tile and a part of another; 23 chunks of 16 bytes, so that steps straddle taps.
    const int per_chunk = sizeof(T) == 2 ? 8 : 4;
    const Layer layer =
        MakeLayer(shape.aligned ? 23 * per_chunk : 23, shape.channels + (shape.aligned ? 8 : 5), 1, 1,
                  shape.pixels > 128 ? 10 : 7, 3);
    cases().push_back({name + "tile " + std::to_string(shape.pixels) + " x " +
                           std::to_string(shape.channels) + (shape.aligned ? "" : " element-wise"),
                       [=] {
                         for (const Schedule schedule : kSchedules) {
                           settings().schedule = schedule;
                           RunTile<T>(family, layer, tile);
                         }
                       }});
  }
}

template <typename T>
Family MmaFamily() {
  return {Type<T>::kName, cuda::DirectMmaTileTable(Type<T>::kPrecision), [](const Layer& layer, int tile) {
            return cuda::LaunchDirectMma(layer, Type<T>::kPrecision, tile, nullptr);
          }};
}

[[maybe_unused]] const bool registered = [] {
  RegisterCases<Half>(MmaFamily<Half>());
  RegisterCases<BFloat16>(MmaFamily<BFloat16>());
  RegisterCases<float>(MmaFamily<float>());
  RegisterCases<Half>({"fp16 by wmma", cuda::DirectWmmaTileTable(), [](const Layer& layer, int tile) {
                         return cuda::LaunchDirectWmma(layer, tile, nullptr);
                       }});
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
