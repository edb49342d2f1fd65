// What holds for every convolution kernel, whatever its tile and precision.
#include <cmath>
#include <limits>

#include "cuda/direct_sm90a.h"
#include "test/emulator/device_layer.h"

namespace repvgg::emulator {
namespace {

using cuda::Algorithm;

struct Kernel {
  const char* name;
  Precision precision;
  Algorithm algorithm;
  int side;  // Outputs come in tiles of side x side, all of which see a NaN.
  Distance bound() const { return side == 1 ? DirectBound(precision) : WinogradBound(precision, side); }
};

constexpr Kernel kKernels[] = {
    {"direct fp32", Precision::kFp32, Algorithm::kDirect, 1},
    {"direct tf32", Precision::kTf32, Algorithm::kDirect, 1},
    {"direct fp16", Precision::kFp16, Algorithm::kDirect, 1},
    {"direct bf16", Precision::kBf16, Algorithm::kDirect, 1},
    {"direct sm_90a fp16", Precision::kFp16, Algorithm::kDirectSm90a, 1},
    {"direct sm_90a bf16", Precision::kBf16, Algorithm::kDirectSm90a, 1},
    {"winograd F(2x2) fp32", Precision::kFp32, Algorithm::kWinogradF2, 2},
    {"winograd F(2x2) fp16", Precision::kFp16, Algorithm::kWinogradF2, 2},
    {"winograd F(2x2) bf16", Precision::kBf16, Algorithm::kWinogradF2, 2},
    {"winograd F(4x4) fp32", Precision::kFp32, Algorithm::kWinogradF4, 4},
};

// The first of the direct tiles loads element by element.
cuda::Candidate CandidateOf(const Kernel& kernel) { return {kernel.algorithm, kernel.side == 1 ? 1 : 0, ""}; }

std::vector<double> Run(const Kernel& kernel, const Layer& layer, const Problem& problem) {
  return emulator::Run(layer, problem, kernel.precision, CandidateOf(kernel));
}

// The same bits from every schedule, and for an image in every place of a batch of any size.
void SameBits(const Kernel& kernel) {
  const Layer layer = MakeLayer(32, 64, 1, 1, 5, 4), alone = MakeLayer(32, 64, 1, 1, 5, 1);
  const Problem problem = MakeProblem(layer, RoundTo(kernel.precision));
  const std::vector<double> all = Run(kernel, layer, problem);
  settings().schedule = Schedule::kRandom;
  if (Run(kernel, layer, problem) != all) Fail("another schedule gives another result");
  const size_t image_in = problem.in.size() / 4, image_out = all.size() / 4;
  for (int i = 0; i < 4; ++i) {
    Problem own = problem;
    own.in.assign(problem.in.begin() + i * image_in, problem.in.begin() + (i + 1) * image_in);
    const std::vector<double> out = Run(kernel, alone, own);
    if (!std::equal(out.begin(), out.end(), all.begin() + i * image_out)) Fail("the batch changes an image");
  }
}

// The order of a sum does not depend on the tile, so a chooser may take any without changing results.
void SameBitsInEveryTile(const Kernel& kernel) {
  const Layer layer = MakeLayer(24, 40, 2, 1, 9, 2);
  const Problem problem = MakeProblem(layer, RoundTo(kernel.precision));
  const size_t tiles = kernel.algorithm == Algorithm::kDirectSm90a
                           ? cuda::ConvolutionSm90aTiles(kernel.precision).size()
                           : cuda::TilesOf(kernel.algorithm, kernel.precision).size();
  std::vector<double> first;
  for (int tile = 0; tile < static_cast<int>(tiles); ++tile) {
    const std::vector<double> out =
        emulator::Run(layer, problem, kernel.precision, {kernel.algorithm, tile, ""});
    if (tile == 0) first = out;
    if (out != first) Fail("tile " + std::to_string(tile) + " gives another result");
  }
}

// A NaN reaches the outputs that depend on it (with Winograd: their tiles), is not hidden by ReLU, and no
// others.
void SpreadsNan(const Kernel& kernel) {
  const Layer layer = MakeLayer(16, 16, 1, 1, 9, 2);
  Problem problem = MakeProblem(layer, RoundTo(kernel.precision));
  constexpr int kY = 4, kX = 6;
  problem.in[(kY * layer.width + kX) * layer.in_channels + 3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<double> out = Run(kernel, layer, problem);
  for (size_t i = 0; i < out.size(); ++i) {
    const int pixel = static_cast<int>(i / layer.out_channels), image = pixel / (layer.height * layer.width);
    int y = pixel / layer.width % layer.height, x = pixel % layer.width;
    bool depends = std::abs(y - kY) <= 1 && std::abs(x - kX) <= 1;
    const int side = kernel.side;
    if (side > 1) {
      // A tile reads from one pixel before its first output to one after its last.
      y = y / side * side, x = x / side * side;
      depends = kY >= y - 1 && kY <= y + side && kX >= x - 1 && kX <= x + side;
    }
    if (image > 0) depends = false;
    // Winograd uses a NaN only at some positions of a tile, so outputs near it may stay numbers.
    const bool must = depends && std::abs(pixel / layer.width % layer.height - kY) <= 1 &&
                      std::abs(pixel % layer.width - kX) <= 1;
    if (must && !std::isnan(out[i])) Fail("a NaN was lost");
    if (!depends && std::isnan(out[i])) Fail("a NaN went too far");
  }
}

// Values of very different size, in channels and around a large mean.
void UnequalChannels(const Kernel& kernel) {
  const Layer layer = MakeLayer(32, 32, 1, 1, 6, 1);
  Problem problem = MakeProblem(layer, RoundTo(kernel.precision));
  for (size_t i = 5; i < problem.in.size(); i += layer.in_channels) problem.in[i] *= 1024;
  for (size_t i = 9; i < problem.in.size(); i += layer.in_channels) problem.in[i] = 512;
  for (size_t i = 12; i < problem.in.size(); i += layer.in_channels) problem.in[i] *= 1.0f / 4096;
  const std::vector<double> out = Run(kernel, layer, problem);
  std::vector<double> expected;
  for (int pixel = 0; pixel < layer.pixels(); ++pixel) {
    for (int k = 0; k < layer.out_channels; ++k) {
      double sum = problem.bias[k];
      for (int tap = 0; tap < 9; ++tap) {
        const int y = pixel / layer.width + tap / 3 - 1, x = pixel % layer.width + tap % 3 - 1;
        if (y < 0 || y >= layer.height || x < 0 || x >= layer.width) continue;
        for (int c = 0; c < layer.in_channels; ++c) {
          sum += double{problem.in[(y * layer.width + x) * layer.in_channels + c]} *
                 problem.weight[(k * layer.in_channels + c) * 9 + tap];
        }
      }
      expected.push_back(std::max(sum, 0.0));
    }
  }
  ExpectWithin(Compare(out, expected), kernel.bound());
}

void LargeValues(const Kernel& kernel) {
  const Layer layer = MakeLayer(32, 32, 1, 1, 6, 1);
  const Problem problem = MakeLargeProblem(layer, RoundTo(kernel.precision));
  const std::vector<double> out = Run(kernel, layer, problem);
  const bool half = kernel.precision == Precision::kFp16;
  ExpectWithin(Compare(out, problem.expected), half ? kLargeHalfBound : kernel.bound());
}

void RefusesLargeMaps(const Kernel& kernel) {
  Layer layer = MakeLayer(1024, 1024, 1, 1, 1024, 2);
  const float nothing = 0;
  layer.in = layer.weight = layer.bias = &nothing;
  if (LaunchConvolution(layer, kernel.precision, CandidateOf(kernel), nullptr) == cudaSuccess) {
    Fail("launched 2^31 elements");
  }
}

[[maybe_unused]] const bool registered = [] {
  for (const Kernel& kernel : kKernels) {
    const std::string name = kernel.name;
    cases().push_back({name + ": the same bits in every schedule and batch", [&] { SameBits(kernel); }});
    cases().push_back({name + ": spreads NaN where it belongs", [&] { SpreadsNan(kernel); }});
    cases().push_back({name + ": large values", [&] { LargeValues(kernel); }});
    cases().push_back({name + ": channels of unequal size", [&] { UnequalChannels(kernel); }});
    if (kernel.side == 1) {
      cases().push_back({name + ": the same bits in every tile", [&] { SameBitsInEveryTile(kernel); }});
    }
    cases().push_back({name + ": refuses maps of 2^31 elements", [&] { RefusesLargeMaps(kernel); }});
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
