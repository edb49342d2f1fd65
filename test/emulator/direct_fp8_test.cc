// gemm_sm90a.cuh in fp8: every tile against float64 of the same weights and pixels, sums that only survive
// because those of each step are added up in fp32, and a network against the same arithmetic in float64.
#include <cmath>

#include "cuda/direct_sm90a.h"
#include "cuda/head.h"
#include "engine/e4m3.h"
#include "test/emulator/networks.h"

namespace repvgg::emulator {
namespace {

constexpr Precision kFp8 = Precision::kFp8;

struct Run {
  Maps in, out;
  DeviceArray<unsigned char> weight;
  DeviceArray<float> bias, scale;

  Run(const Layer& layer, const Problem& problem, const std::vector<float>& scales)
      : in(kFp8, problem.in),
        out(kFp8, problem.expected.size()),
        weight(cuda::PackDirectSm90a(layer, problem.weight.data(), kFp8)),
        bias(problem.bias),
        scale(scales) {}

  Layer Fill(Layer layer) const {
    layer.in = in.data();
    layer.weight = weight.data();
    layer.bias = bias.data();
    layer.scale = scale.data();
    layer.out = out.data();
    return layer;
  }
};

// Every channel has a factor of its own, which the bias and what is expected have too.
std::vector<float> ScaleChannels(const Layer& layer, Problem& problem) {
  std::vector<float> scales(layer.out_channels);
  for (int k = 0; k < layer.out_channels; ++k) {
    scales[k] = std::ldexp(1.0f, k % 5 - 2);
    problem.bias[k] *= scales[k];
  }
  for (size_t i = 0; i < problem.expected.size(); ++i) problem.expected[i] *= scales[i % layer.out_channels];
  return scales;
}

// Each output is the nearest e4m3 to a sum that is off by no more than `error` of its channel's factor.
void ExpectNearest(const std::vector<double>& got, const std::vector<double>& expected,
                   const std::vector<float>& scales, double error) {
  size_t wrong = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double off = error * scales[i % scales.size()];
    const float low = RoundToE4m3(static_cast<float>(std::max(expected[i] - off, 0.0)));
    const float high = RoundToE4m3(static_cast<float>(expected[i] + off));
    wrong += !(got[i] >= low && got[i] <= high);
  }
  if (wrong > 0) Fail(std::to_string(wrong) + " of " + std::to_string(got.size()) + " outputs are wrong");
}

// Outputs have a deviation of 1, nearly, before the factors.
constexpr double kSumError = 1e-2;

void RunTile(const Layer& layer, int tile) {
  Problem problem = MakeProblem(layer, RoundToE4m3);
  const std::vector<float> scales = ScaleChannels(layer, problem);
  const auto values = [&](int of) {
    const Run run(layer, problem, scales);
    if (cuda::LaunchDirectSm90a(run.Fill(layer), kFp8, of, {}, nullptr) != cudaSuccess) Fail("not launched");
    if (CountUnwritten(run.out.data()) != 0) Fail("outputs were not written");
    return run.out.Values();
  };
  const std::vector<double> got = values(tile);
  ExpectWithin(Compare(got, problem.expected), DirectBound(kFp8));
  ExpectNearest(got, problem.expected, scales, kSumError);
  const cuda::GemmSm90aTile& shape = cuda::ConvolutionSm90aTiles(kFp8)[tile];
  if (shape.multicast == cuda::Operand::kNone) return;
  if (got != values(tile - AheadOf(shape))) Fail("multicast changes the result");
}

// The mean over the pixels of each image, in which rounding to fp8 has no part.
std::vector<double> RunPooled(const Layer& layer, const Problem& problem, const std::vector<float>& scales,
                              int tile) {
  const Run run(layer, problem, scales);
  const int pixels = layer.out_height() * layer.out_width();
  const DeviceArray<float> mean(static_cast<size_t>(layer.batch) * layer.out_channels);
  const DeviceArray<double> parts(size_t(layer.batch) * cuda::PooledParts(pixels) * layer.out_channels,
                                  Contents::kScratch);
  Layer filled = run.Fill(layer);
  filled.out = nullptr;
  filled.pooled = parts.data();
  if (cuda::LaunchDirectSm90a(filled, kFp8, tile, {}, nullptr) != cudaSuccess) Fail("not launched");
  cuda::LaunchPoolParts(parts.data(), layer.batch, pixels, layer.out_channels, mean.data(), nullptr);
  return {mean.data(), mean.data() + mean.size()};
}

std::vector<double> Means(const Layer& layer, const Problem& problem) {
  const int pixels = layer.out_height() * layer.out_width(), channels = layer.out_channels;
  std::vector<double> means(static_cast<size_t>(layer.batch) * channels);
  for (size_t i = 0; i < problem.expected.size(); ++i) {
    means[i / channels / pixels * channels + i % channels] += problem.expected[i] / pixels;
  }
  return means;
}

[[maybe_unused]] const bool registered = [] {
  const auto tiles = cuda::ConvolutionSm90aTiles(kFp8);
  for (int tile = 0; tile < static_cast<int>(tiles.size()); ++tile) {
    const cuda::GemmSm90aTile& shape = tiles[tile];
    cases().push_back({"direct sm_90a fp8: tile " + std::to_string(shape.rows) + " x " +
                           std::to_string(shape.columns) + ' ' + cuda::Sm90aName(shape),
                       [=] {
                         // Channels that fill neither the last part of a step nor the tile; strides and
                         // groups; images that a tile ends in the midst of.
                         settings().schedule = Schedule::kRandom;
                         RunTile(MakeLayer(144, shape.columns + 16, 1, 1, 7, 3), tile);
                         settings().schedule = Schedule::kDescending;
                         RunTile(MakeLayer(96, shape.columns * 2, 2, 2, 9, 5), tile);
                         settings().schedule = Schedule::kAscending;
                         const Layer layer = MakeLayer(64, 128, 2, 4, 9, 3);
                         RunTile(layer, tile);
                         Problem problem = MakeProblem(layer, RoundToE4m3);
                         const std::vector<float> scales = ScaleChannels(layer, problem);
                         ExpectWithin(Compare(RunPooled(layer, problem, scales, tile), Means(layer, problem)),
                                      {1e-3, 1e-2});
                       }});
  }
  return true;
}();

// Positive numbers only, so that each sum grows. Of the 128 products of a step and the four sums that they
// are added to, each loses less than 2^-13 of what the step's sum is at last; and fp16 rounds by 2^-11. Sums
// over all steps would lose ten times as much.
TEST("direct sm_90a fp8: long sums of one sign") {
  const Layer layer = MakeLayer(512, 64, 1, 1, 4, 1);
  Problem problem = MakeProblem(layer, RoundToE4m3);
  for (float& value : problem.in) value = RoundToE4m3(1 + value);
  for (float& value : problem.weight) value = RoundToE4m3(32 * std::abs(value));
  const std::vector<float> scales(layer.out_channels, 1.0f);
  // Pixels beyond the border are zeros.
  problem.expected.clear();
  for (int i = 0; i < 16 * layer.out_channels; ++i) {
    const int x = i / layer.out_channels % 4, y = i / layer.out_channels / 4, k = i % layer.out_channels;
    double sum = problem.bias[k];
    for (int tap = 0; tap < 9; ++tap) {
      const int from_x = x + tap % 3 - 1, from_y = y + tap / 3 - 1;
      if (from_x < 0 || from_x > 3 || from_y < 0 || from_y > 3) continue;
      for (int c = 0; c < 512; ++c) {
        sum += double(problem.in[(from_y * 4 + from_x) * 512 + c]) * problem.weight[(k * 512 + c) * 9 + tap];
      }
    }
    problem.expected.push_back(sum);
  }
  const std::vector<double> expected = Means(layer, problem);
  const std::vector<double> got = RunPooled(layer, problem, scales, 4);
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(got[i] / expected[i] - 1));
  const double bound = (128 + 4) * std::ldexp(1.0, -13) + std::ldexp(1.0, -11);
  if (!(worst <= bound)) Fail(std::to_string(worst) + " is more than " + std::to_string(bound));
  ExpectWithin(Compare(got, expected), {bound, 1});
}

TEST("network: fp8 against the same arithmetic in float64") {
  NetworkShape shape = MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone);
  shape.blocks = {{3, 16, 2, 1, false, 0},
                  {16, 32, 2, 1, false, 0},
                  {32, 32, 1, 2, true, 0},
                  {32, 144, 2, 1, false, 0},
                  {144, 48, 2, 1, false, 0}};
  Reference reference(shape);
  const std::vector<uint8_t> pixels = RandomImages(shape, 3);
  const std::vector<double> exact = reference.Logits(pixels.data());
  reference.Quantize(pixels);
  const std::vector<double> rounded = reference.Logits(pixels.data());
  const auto network = MakeNetwork(reference, kFp8, 2, {}, 90);
  const std::vector<float> got = RunNetwork(*network, pixels);
  CheckLogits(reference, pixels, got, NetworkBound(kFp8));
  if (!(Compare(rounded, exact).relative_l2 < 0.15)) Fail("rounding to fp8 changes too much");
  ExpectEqual(CodeOf([&] { MakeNetwork(reference, kFp8, 2, {}, 80); }), "ERR_PRECISION_UNSUPPORTED");
}

}  // namespace
}  // namespace repvgg::emulator
