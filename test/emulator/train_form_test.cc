#include "cuda/train_form.h"

#include <algorithm>
#include <memory>

#include "test/emulator/maps.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

void RunTrainForm(Layer shape, Precision precision, bool identity) {
  const int group_in = shape.group_in(), group_out = shape.group_out();
  const auto deviates = [](size_t count, double deviation, unsigned seed) {
    return RandomNormal(count, deviation, seed);
  };
  const Maps in(
      precision,
      deviates(static_cast<size_t>(shape.batch) * shape.height * shape.width * shape.in_channels, 1, 21));
  const size_t outputs = static_cast<size_t>(shape.pixels()) * shape.out_channels;
  const Maps dense(precision, deviates(outputs, 1, 22)), out(precision, outputs);
  const std::vector<float> weight = deviates(static_cast<size_t>(shape.out_channels) * group_in, 0.1, 23);
  std::vector<std::vector<float>> vectors;  // pointwise bias; scale and shift of three branches
  for (unsigned i = 0; i < 7; ++i) vectors.push_back(deviates(shape.out_channels, 1, 24 + i));
  std::vector<std::unique_ptr<DeviceArray<float>>> arrays;
  for (const auto& vector : vectors) arrays.push_back(std::make_unique<DeviceArray<float>>(vector));
  const DeviceArray<float> pointwise(cuda::PackPointwise(shape, weight.data()));

  shape.in = in.data();
  shape.out = out.data();
  cuda::TrainFormLayer layer = {shape,
                                dense.data(),
                                pointwise.data(),
                                arrays[0]->data(),
                                {arrays[1]->data(), arrays[2]->data()},
                                {arrays[3]->data(), arrays[4]->data()},
                                {}};
  if (identity) layer.identity_affine = {arrays[5]->data(), arrays[6]->data()};
  if (cuda::LaunchTrainForm(layer, precision, nullptr) != cudaSuccess) Fail("not launched");
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");

  const std::vector<double> x = in.Values(), y = dense.Values();
  std::vector<double> expected(outputs);
  for (size_t i = 0; i < outputs; ++i) {
    const int k = static_cast<int>(i % shape.out_channels);
    const size_t pixel = i / shape.out_channels, line = pixel / shape.out_width();
    const size_t column = pixel % shape.out_width() * shape.stride,
                 row = line % shape.out_height() * shape.stride;
    const size_t at =
        ((line / shape.out_height() * shape.height + row) * shape.width + column) * shape.in_channels;
    double sum = vectors[0][k];
    for (int c = 0; c < group_in; ++c) {
      sum += x[at + k / group_out * group_in + c] * weight[static_cast<size_t>(k) * group_in + c];
    }
    double result = y[i] * vectors[1][k] + vectors[2][k] + sum * vectors[3][k] + vectors[4][k];
    if (identity) result += x[at + k] * vectors[5][k] + vectors[6][k];
    expected[i] = shape.relu ? std::max(result, 0.0) : result;
  }
  ExpectWithin(Compare(out.Values(), expected), DirectBound(precision));
}

TEST("train form") {
  for (const Precision precision : kPrecisions) {
    RunTrainForm(MakeLayer(48, 48, 1, 1, 7, 2), precision, true);
    RunTrainForm(MakeLayer(3, 64, 2, 1, 9), precision, false);
    RunTrainForm(MakeLayer(160, 160, 1, 4, 6), precision, true);
    RunTrainForm(MakeLayer(26, 13, 2, 1, 8), precision, false);
    Layer before_gate = MakeLayer(64, 64, 1, 2, 5);
    before_gate.relu = false;
    RunTrainForm(before_gate, precision, true);
  }
}

}  // namespace
}  // namespace repvgg::emulator
