// The layers to test: every distinct (in, out, stride, groups) of the official networks, with random values
// and their results in float64.
#pragma once

#include <string>
#include <vector>

#include "cuda/convolution.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {

// Without pointers and relu set.
using Layer = cuda::Convolution;

// All 3x3 layers but the stem, at batch 1 and a size which is even for stride 1 and odd for stride 2, so that
// both kinds of border occur.
std::vector<Layer> OfficialLayers();
// Those with few input channels, of a kernel whose twin for another type of the same size goes through all:
// the others differ in the number of steps only, which the twin counts alike. With REPVGG_EMULATOR=whole (npm
// run test:emulator) it is all of them.
std::vector<Layer> NarrowLayers(int most_channels = 128);
Layer MakeLayer(int in_channels, int out_channels, int stride = 1, int groups = 1, int size = 5,
                int batch = 1);
std::string LayerName(const Layer& layer);

using Round = float (*)(float);

struct Problem {
  std::vector<float> in;  // ReLU of a normal distribution, rounded.
  std::vector<float>
      weight;  // [out_channels][group_in][3][3], normal with variance 2 / (9 group_in), rounded.
  std::vector<float> bias;
  std::vector<double> expected;
};
// With `in`, if it is not empty, as its input.
Problem MakeProblem(const Layer& layer, Round round, const std::vector<double>& in = {});

// The same with inputs up to the largest value of fp16 and weights as much smaller, so that `expected` is as
// large as before. Weights in fp16 are subnormal then, and lose bits.
Problem MakeLargeProblem(const Layer& layer, Round round);

std::vector<float> RandomNormal(size_t count, double deviation, unsigned seed);

// The nearest value of a precision's format.
Round RoundTo(Precision precision);

// How far a convolution of rounded inputs may be from float64, as docs/kernels.md has it: direct, or by
// Winograd's F(2x2) or F(4x4), whose `tile_side` is 2 or 4.
Distance DirectBound(Precision precision);
Distance WinogradBound(Precision precision, int tile_side);
// Of a large problem in fp16.
inline constexpr Distance kLargeHalfBound = {1e-2, 5e-2};

}  // namespace repvgg::emulator
