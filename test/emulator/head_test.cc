#include "cuda/head.h"

#include <algorithm>
#include <cmath>

#include "cuda/squeeze_excite.h"
#include "test/emulator/maps.h"
#include "test/emulator/ranking.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

constexpr Distance kFloatBound = {1e-6, 1e-5};

std::vector<double> Pool(const std::vector<double>& maps, int batch, int pixels, int channels) {
  std::vector<double> mean(static_cast<size_t>(batch) * channels);
  for (int i = 0; i < batch * pixels; ++i) {
    for (int c = 0; c < channels; ++c)
      mean[i / pixels * channels + c] += maps[static_cast<size_t>(i) * channels + c] / pixels;
  }
  return mean;
}

std::vector<double> Linear(const std::vector<double>& in, const std::vector<float>& weight,
                           const std::vector<float>& bias, double (*activation)(double)) {
  const size_t rows = bias.size(), columns = weight.size() / rows;
  std::vector<double> out;
  for (size_t image = 0; image < in.size() / columns; ++image) {
    for (size_t r = 0; r < rows; ++r) {
      double sum = bias[r];
      for (size_t c = 0; c < columns; ++c) sum += in[image * columns + c] * weight[r * columns + c];
      out.push_back(activation(sum));
    }
  }
  return out;
}

double Same(double value) { return value; }
double Relu(double value) { return std::max(value, 0.0); }
double Sigmoid(double value) { return 1 / (1 + std::exp(-value)); }

std::vector<double> Doubles(const DeviceArray<float>& values) {
  return {values.data(), values.data() + values.size()};
}

void RunPool(Precision precision, int batch, int pixels, int channels) {
  const std::vector<float> values = RandomNormal(static_cast<size_t>(batch) * pixels * channels, 1, 7);
  const Maps maps(precision, values);
  const DeviceArray<float> out(static_cast<size_t>(batch) * channels);
  cuda::LaunchPool(maps.data(), precision, batch, pixels, channels, out.data(), nullptr);
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");
  ExpectWithin(Compare(Doubles(out), Pool(maps.Values(), batch, pixels, channels)), kFloatBound);
}

void RunLinear(cuda::Activation activation, int batch, int rows, int columns) {
  const std::vector<float> in = RandomNormal(static_cast<size_t>(batch) * columns, 1, 8);
  const std::vector<float> weight = RandomNormal(static_cast<size_t>(rows) * columns, 0.05, 9);
  const std::vector<float> bias = RandomNormal(rows, 1, 10);
  const DeviceArray<float> device_in(in), device_weight(weight), device_bias(bias);
  const DeviceArray<float> out(static_cast<size_t>(batch) * rows);
  cuda::LaunchLinear({device_in.data(), device_weight.data(), device_bias.data(), out.data(), batch, rows,
                      columns, activation},
                     nullptr);
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");
  constexpr double (*kFunctions[])(double) = {Same, Relu, Sigmoid};
  ExpectWithin(Compare(Doubles(out), Linear({in.begin(), in.end()}, weight, bias,
                                            kFunctions[static_cast<int>(activation)])),
               kFloatBound);
}

void RunTopK(const RankingProblem& problem) {
  const int classes = static_cast<int>(problem.logits.size()) / problem.images;
  const size_t count = static_cast<size_t>(problem.images) * problem.k;
  const DeviceArray<float> in(problem.logits), scores(count);
  const DeviceArray<int32_t> indices(count);
  cuda::LaunchSoftmaxTopK(in.data(), problem.images, classes, problem.k, indices.data(), scores.data(),
                          nullptr);
  CheckRanking(problem, {{scores.data(), scores.data() + count}, {indices.data(), indices.data() + count}});
}

void RunSqueezeExcite(Precision precision, int channels, int squeezed, bool relu) {
  constexpr int kBatch = 3, kPixels = 35;
  const std::vector<float> values = RandomNormal(kBatch * kPixels * static_cast<size_t>(channels), 1, 11);
  const std::vector<float> down = RandomNormal(static_cast<size_t>(channels) * squeezed, 0.3, 12);
  const std::vector<float> up = RandomNormal(static_cast<size_t>(channels) * squeezed, 0.3, 13);
  const std::vector<float> down_bias = RandomNormal(squeezed, 0.5, 14),
                           up_bias = RandomNormal(channels, 1, 15);
  const Maps maps(precision, values, Contents::kState);
  std::vector<double> expected = maps.Values();
  const DeviceArray<float> device_down(down), device_down_bias(down_bias), device_up(up),
      device_up_bias(up_bias);
  const DeviceArray<float> scratch(cuda::SqueezeExciteScratch(kBatch, channels, squeezed),
                                   Contents::kScratch);
  cuda::LaunchSqueezeExcite(
      {maps.data(), kBatch, kPixels, channels, squeezed, relu, device_down.data(), device_down_bias.data(),
       device_up.data(), device_up_bias.data(), scratch.data()},
      precision, nullptr);
  const std::vector<double> gates =
      Linear(Linear(Pool(expected, kBatch, kPixels, channels), down, down_bias, Relu), up, up_bias, Sigmoid);
  for (size_t i = 0; i < expected.size(); ++i) {
    expected[i] *= gates[i / channels / kPixels * channels + i % channels];
    if (relu) expected[i] = std::max(expected[i], 0.0);
  }
  ExpectWithin(Compare(maps.Values(), expected), DirectBound(precision));
}

TEST("head: pool") {
  for (const Precision precision : kPrecisions) {
    RunPool(precision, 2, 49, 1280);
    RunPool(precision, 3, 1, 26);
    RunPool(precision, 1, 1000, 13);
  }
}

TEST("head: linear layer") {
  for (const Schedule schedule : {Schedule::kAscending, Schedule::kRandom}) {
    settings().schedule = schedule;
    RunLinear(cuda::Activation::kNone, 9, 1000, 128);
    RunLinear(cuda::Activation::kNone, 1, 10, 2560);
    RunLinear(cuda::Activation::kRelu, 3, 37, 13);
    RunLinear(cuda::Activation::kSigmoid, 17, 5, 40);
  }
}

TEST("head: softmax and top-k") {
  for (const Schedule schedule : {Schedule::kAscending, Schedule::kRandom}) {
    settings().schedule = schedule;
    for (const RankingProblem& problem : RankingProblems()) RunTopK(problem);
  }
}

TEST("squeeze-and-excite") {
  for (const Precision precision : kPrecisions) {
    RunSqueezeExcite(precision, 160, 10, true);
    RunSqueezeExcite(precision, 64, 16, false);
    RunSqueezeExcite(precision, 13, 3, true);
    RunSqueezeExcite(precision, 13, 4, true);
  }
}

}  // namespace
}  // namespace repvgg::emulator
