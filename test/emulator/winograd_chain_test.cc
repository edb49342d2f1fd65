#include "cuda/winograd_chain.h"

#include "test/emulator/device_layer.h"
#include "test/emulator/networks.h"

namespace repvgg::emulator {
namespace {

constexpr int kArchitecture = 90;

cuda::Candidate CandidateOf(int tile_side, int tile) {
  return {tile_side == 2 ? cuda::Algorithm::kChainF2 : cuda::Algorithm::kChainF4, tile, "chain"};
}

void RunTile(const Layer& layer, Precision precision, int tile_side, int tile) {
  const Problem problem = MakeProblem(layer, RoundTo(precision));
  const std::vector<double> got = Run(layer, problem, precision, CandidateOf(tile_side, tile));
  ExpectWithin(Compare(got, problem.expected), WinogradBound(precision, tile_side));
  const cuda::GemmSm90aTile* const shape = cuda::ChainTiles(precision, kArchitecture)[tile].sm90a;
  if (shape == nullptr || shape->multicast == cuda::Operand::kNone) return;
  const cuda::Candidate alone = CandidateOf(tile_side, tile - AheadOf(*shape));
  if (got != Run(layer, problem, precision, alone)) Fail("multicast changes the result");
}

// Blocks of one shape follow each other; some have groups, and what is ahead and behind has another stride.
NetworkShape ChainShape() {
  NetworkShape shape;
  shape.form = Form::kDeploy;
  shape.blocks = {{3, 16, 2, 1, false, 0}, {16, 48, 2, 1, false, 0}, {48, 48, 1, 1, true, 0},
                  {48, 48, 1, 2, true, 0}, {48, 48, 1, 1, true, 0},  {48, 24, 2, 1, false, 0}};
  shape.num_classes = 7;
  shape.height = 37;
  shape.width = 30;
  shape.mean = {0.485f, 0.456f, 0.406f};
  shape.stddev = {0.229f, 0.224f, 0.225f};
  return shape;
}

// A chain must give the bits of its layers one by one.
void RunInChain(Precision precision, int tile_side) {
  const Layer layer = MakeLayer(48, 48, 1, 1, 9, 3);
  const cuda::Candidate candidate = CandidateOf(tile_side, 0);
  const Problem problem = MakeProblem(layer, RoundTo(precision));
  const std::vector<double> between = Run(layer, problem, precision, candidate);
  Problem second = problem;
  second.in.assign(between.begin(), between.end());
  const std::vector<double> expected = Run(layer, second, precision, candidate);

  const DeviceLayer device(layer, problem, precision, candidate);
  Layer half = device.layer();
  half.out = nullptr;
  half.transformed_out = true;
  Launch(half, precision, candidate);
  half = device.layer();
  half.in = nullptr;
  half.transformed_in = true;
  Launch(half, precision, candidate);
  if (device.Values() != expected) Fail("a chain of two layers gives other bits than the layers one by one");
}

// Whatever slices of the batch a candidate takes, they give the bits of all images at once.
void RunInSlices(Precision precision, int tile_side) {
  const Layer layer = MakeLayer(48, 48, 1, 1, 9, 5);
  const Problem problem = MakeProblem(layer, RoundTo(precision));
  const cuda::Candidate whole = CandidateOf(tile_side, 0);
  cuda::Candidate sliced = whole;
  sliced.workspace_bytes = 2 * cuda::ChainWorkspace(MakeLayer(48, 48, 1, 1, 9, 1), tile_side);
  if (cuda::SliceImages(layer, sliced) != 2 ||
      cuda::WorkspaceBytes(layer, sliced) != sliced.workspace_bytes) {
    Fail("slices should be of two images");
  }
  if (Run(layer, problem, precision, sliced) != Run(layer, problem, precision, whole)) {
    Fail("slices give other bits than all images at once");
  }
}

void RunLargeValues(Precision precision, int tile_side) {
  const Layer layer = MakeLayer(48, 48, 1, 1, 9, 1);
  const Problem problem = MakeLargeProblem(layer, RoundTo(precision));
  const std::vector<double> got = Run(layer, problem, precision, CandidateOf(tile_side, 0));
  const bool half = precision == Precision::kFp16;
  ExpectWithin(Compare(got, problem.expected), half ? kLargeHalfBound : WinogradBound(precision, tile_side));
}

[[maybe_unused]] const bool registered = [] {
  for (const Precision precision : {Precision::kFp16, Precision::kBf16}) {
    const auto tiles = cuda::ChainTiles(precision, kArchitecture);
    for (const int side : {2, 4}) {
      const std::string name = std::string("winograd chain F(") + std::to_string(side) + "x" +
                               std::to_string(side) + ") " + PrecisionName(precision) + ": ";
      for (const Layer& official : NarrowLayers(precision == Precision::kFp16 ? 256 : 128)) {
        if (official.stride != 1) continue;
        cases().push_back({name + LayerName(official), [=] {
                             // By mma.sync, and by wgmma with a tile that divides the channels.
                             RunTile(official, precision, side, 1);
                             for (int tile = static_cast<int>(tiles.size()) - 1; tile >= 4; --tile) {
                               if (official.group_out() % tiles[tile].channels != 0) continue;
                               RunTile(official, precision, side, tile);
                               break;
                             }
                           }});
      }
      for (int tile = 0; tile < static_cast<int>(tiles.size()); ++tile) {
        const cuda::ChainTile& shape = tiles[tile];
        cases().push_back({name + "tile " + std::to_string(shape.tiles) + " x " +
                               std::to_string(shape.channels) +
                               (shape.sm90a == nullptr ? "" : ' ' + cuda::Sm90aName(*shape.sm90a)),
                           [=] {
                             const bool twin = precision == Precision::kBf16 && shape.sm90a != nullptr &&
                                               shape.sm90a->multicast != cuda::Operand::kNone;
                             for (const Schedule schedule : kSchedules) {
                               if (twin && schedule != Schedule::kRandom) continue;  // All of them in fp16.
                               settings().schedule = schedule;
                               RunTile(MakeLayer(72, shape.channels + 8, 1, 1, 9, 5), precision, side, tile);
                               RunTile(MakeLayer(80, shape.channels * 2, 1, 2, 7, 3), precision, side, tile);
                             }
                           }});
      }
      cases().push_back({name + "two layers in a chain", [=] { RunInChain(precision, side); }});
      cases().push_back({name + "in slices", [=] { RunInSlices(precision, side); }});
      if (side == 2) {
        // In fp16, F(4x4) overflows before its inputs do. And without a measurement, "f2" would be the kernel
        // that is not a chain.
        cases().push_back({name + "large values", [=] { RunLargeValues(precision, side); }});
        continue;
      }
      cases().push_back({name + "in a network", [=] {
                           const Reference reference(ChainShape());
                           const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
                           const auto network =
                               MakeNetwork(reference, precision, 2, ConvolutionAlgorithm::kF4, kArchitecture);
                           if (network->Describe().find("chain") == std::string::npos)
                             Fail("no layer is in a chain");
                           CheckLogits(reference, pixels, RunNetwork(*network, pixels),
                                       NetworkBound(precision));
                         }});
      cases().push_back(
          {name + "in a network, image by image", [=] {
             for (const int more : {0, 1}) {
               NetworkShape chain = ChainShape();
               // Of an even number of blocks, the last one writes where the first one read.
               chain.blocks.insert(chain.blocks.begin() + 2, more, chain.blocks[2]);
               const Reference reference(chain);
               const std::vector<uint8_t> pixels = RandomImages(chain, 3);
               const auto whole =
                   MakeNetwork(reference, precision, 3, ConvolutionAlgorithm::kF4, kArchitecture);
               const auto sliced =
                   MakeNetwork(reference, precision, 3, ConvolutionAlgorithm::kF4, kArchitecture, nullptr, 1);
               const auto expected = RunNetwork(*whole, pixels);
               CheckLogits(reference, pixels, expected, NetworkBound(precision));
               if (RunNetwork(*sliced, pixels) != expected) Fail("slices give other logits");
             }
           }});
    }
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
