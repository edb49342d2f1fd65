#include "cuda/direct_sm90a.h"

#include "cuda/head.h"
#include "test/emulator/device_layer.h"
#include "test/emulator/networks.h"

namespace repvgg::emulator {
namespace {

using cuda::Parts;

std::vector<double> Run(const Layer& layer, const Problem& problem, Precision precision, int tile,
                        Parts parts) {
  return emulator::Run(layer, problem, precision, {cuda::Algorithm::kDirectSm90a, tile, "", parts});
}

void RunTile(const Layer& layer, Precision precision, int tile, Parts parts = {}) {
  const Problem problem = MakeProblem(layer, RoundTo(precision));
  const std::vector<double> got = Run(layer, problem, precision, tile, parts);
  ExpectWithin(Compare(got, problem.expected), DirectBound(precision));
  const cuda::GemmSm90aTile& shape = cuda::ConvolutionSm90aTiles(precision)[tile];
  const bool twin = precision == Precision::kBf16 && settings().schedule != Schedule::kRandom;
  if (shape.adds_parts && !twin && parts.count > 1 && parts.count <= cuda::kMostBlocksOfCluster &&
      got != Run(layer, problem, precision, tile, {parts.count, true})) {
    Fail("a cluster adds other bits than a second kernel");
  }
  if (shape.multicast == cuda::Operand::kNone) return;
  if (got != Run(layer, problem, precision, tile - AheadOf(shape), parts))
    Fail("multicast changes the result");
}

// The mean over the pixels of each image, by the layer itself. `images` of the problem's, from the first on.
std::vector<float> RunPooled(Layer layer, const Problem& problem, Precision precision, int tile, int first,
                             int images) {
  const size_t image = problem.in.size() / layer.batch;
  const Maps in(precision,
                {problem.in.begin() + first * image, problem.in.begin() + (first + images) * image});
  const int pixels = layer.out_height() * layer.out_width();
  const DeviceArray<unsigned char> weight(cuda::PackDirectSm90a(layer, problem.weight.data(), precision));
  const DeviceArray<float> bias(problem.bias), mean(static_cast<size_t>(images) * layer.out_channels);
  const DeviceArray<double> parts(size_t(images) * cuda::PooledParts(pixels) * layer.out_channels,
                                  Contents::kScratch);
  layer.batch = images;
  layer.in = in.data();
  layer.weight = weight.data();
  layer.bias = bias.data();
  layer.pooled = parts.data();
  if (cuda::LaunchDirectSm90a(layer, precision, tile, {}, nullptr) != cudaSuccess) Fail("not launched");
  cuda::LaunchPoolParts(parts.data(), images, pixels, layer.out_channels, mean.data(), nullptr);
  if (CountUnwritten(mean.data()) != 0) Fail("means were not written");
  return {mean.data(), mean.data() + mean.size()};
}

// An image's means are the same bits whatever the tile, and wherever in a batch it lies; they are those of
// the map, whose values are rounded.
void RunPooledEverywhere(Precision precision, const Layer& layer) {
  const Problem problem = MakeProblem(layer, RoundTo(precision));
  const int pixels = layer.out_height() * layer.out_width(), channels = layer.out_channels;
  std::vector<double> expected(static_cast<size_t>(layer.batch) * channels);
  for (size_t i = 0; i < problem.expected.size(); ++i) {
    expected[i / channels / pixels * channels + i % channels] += problem.expected[i] / pixels;
  }
  const auto tiles = cuda::ConvolutionSm90aTiles(precision);
  const std::vector<float> first = RunPooled(layer, problem, precision, 0, 0, layer.batch);
  ExpectWithin(Compare({first.begin(), first.end()}, expected), DirectBound(precision));
  for (const Schedule schedule : kSchedules) {
    settings().schedule = schedule;
    for (int tile = 0; tile < static_cast<int>(tiles.size()); ++tile) {
      if (RunPooled(layer, problem, precision, tile, 0, layer.batch) != first) Fail("tiles differ");
    }
  }
  for (int image = 0; image < layer.batch; ++image) {
    const std::vector<float> alone = RunPooled(layer, problem, precision, 1, image, 1);
    if (!std::equal(alone.begin(), alone.end(), first.begin() + image * channels)) Fail("images differ");
  }
}

NetworkShape EvenShape() {
  NetworkShape shape = MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone);
  shape.blocks.back().out_channels = 24;
  return shape;
}

// The same network three times: with split reductions, added in both ways, and without.
void RunNetworks(Precision precision) {
  const Reference reference(EvenShape());
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 5);
  const size_t image = pixels.size() / 5, classes = reference.shape().num_classes;
  for (const Parts wanted : {Parts{}, Parts{2, false}, Parts{2, true}}) {
    const auto measure = [&](const cuda::Convolution&, const cuda::Candidate& candidate) {
      const bool sm90a = candidate.algorithm == cuda::Algorithm::kDirectSm90a;
      const bool split = candidate.parts.count > 1, in_cluster = candidate.parts.in_cluster;
      const bool is_wanted = sm90a && split == (wanted.count > 1) && in_cluster == wanted.in_cluster;
      return std::optional(is_wanted ? 1.0 : sm90a ? 2.0 : 3.0);
    };
    const auto network = MakeNetwork(reference, precision, 2, {}, 90, measure);
    const char* const name = wanted.in_cluster  ? "\"sm90a cluster"
                             : wanted.count > 1 ? "\"sm90a split"
                                                : "\"sm90a";
    if (network->Describe().find(name) == std::string::npos) {
      Fail(network->Describe());
    }
    const std::vector<float> together = RunNetwork(*network, pixels);
    CheckLogits(reference, pixels, together, NetworkBound(precision));
    for (int i = 4; i >= 0; --i) {
      const std::vector<float> alone =
          RunNetwork(*network, {pixels.begin() + i * image, pixels.begin() + (i + 1) * image});
      if (!std::equal(alone.begin(), alone.end(), together.begin() + i * classes)) {
        Fail("image " + std::to_string(i) + " has other results alone");
      }
    }
  }
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
    for (const Layer& layer : precision == Precision::kBf16 ? NarrowLayers() : OfficialLayers()) {
      cases().push_back(
          {name + LayerName(layer), [=] { RunTile(layer, precision, ExactTile(layer, tiles)); }});
    }
    for (int tile = 0; tile < static_cast<int>(tiles.size()); ++tile) {
      const cuda::GemmSm90aTile& shape = tiles[tile];
      cases().push_back({name + "tile " + std::to_string(shape.rows) + " x " + std::to_string(shape.columns) +
                             ' ' + cuda::Sm90aName(shape),
                         [=] {
                           const bool twin =
                               precision == Precision::kBf16 && shape.multicast != cuda::Operand::kNone;
                           for (const Schedule schedule : kSchedules) {
                             if (twin && schedule != Schedule::kRandom) continue;  // All of them in fp16.
                             settings().schedule = schedule;
                             // Seven images, of which a tile ends in the midst of one; channels that fill
                             // neither the last sixteen nor the tile; strides, groups, odd sizes; several
                             // tiles for each block.
                             RunTile(MakeLayer(72, shape.columns + 8, 1, 1, 9, 7), precision, tile);
                             RunTile(MakeLayer(80, shape.columns * 2, 1, 2, 7, 7), precision, tile);
                             RunTile(MakeLayer(32, shape.columns, 2, 1, 14, 9), precision, tile);
                             RunTile(MakeLayer(160, 160, 2, 4, 5, 3), precision, tile);
                             // The last sixteen of a step, half of it.
                             RunTile(MakeLayer(56, shape.columns, 1, 1, 5, 3), precision, tile);
                             // Parts of 4 or 5, of 1 or 2 and of 1 step, of the first not all channels.
                             RunTile(MakeLayer(72, shape.columns + 8, 1, 1, 9, 3), precision, tile, {4});
                             RunTile(MakeLayer(80, shape.columns * 2, 2, 2, 7, 3), precision, tile, {8});
                             RunTile(MakeLayer(16, shape.columns, 2, 1, 7, 3), precision, tile, {9});
                           }
                         }});
    }
    cases().push_back({name + "pools what it computes", [=] {
                         RunPooledEverywhere(precision, MakeLayer(32, 80, 2, 1, 14, 5));
                         RunPooledEverywhere(precision, MakeLayer(16, 96, 1, 2, 9, 3));
                         RunPooledEverywhere(precision, MakeLayer(16, 24, 2, 1, 2, 70));
                       }});
    cases().push_back({name + "in a network", [=] { RunNetworks(precision); }});
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
