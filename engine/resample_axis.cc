#include "engine/resample_axis.h"

#include <algorithm>
#include <cmath>

namespace repvgg {
namespace {

double Filter(Interpolation interpolation, double x) {
  x = std::abs(x);
  if (interpolation == Interpolation::kBilinear) return x < 1 ? 1 - x : 0;
  constexpr double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

}  // namespace

Axis MakeAxis(int in, int64_t size, int64_t begin, int64_t end, Interpolation interpolation) {
  const auto outputs = static_cast<size_t>(end - begin);
  Axis axis;
  axis.identity = size == in;
  if (axis.identity) {
    axis.begin = static_cast<int>(begin);
    axis.end = static_cast<int>(end);
    axis.count.assign(outputs, 1);
    axis.weights.assign(outputs, 1 << kPrecisionBits);
    for (size_t i = 0; i < outputs; ++i) axis.first.push_back(static_cast<int>(i));
    return axis;
  }
  const double scale = static_cast<double>(in) / static_cast<double>(size);
  const double filter_scale = std::max(scale, 1.0);
  const double support = (interpolation == Interpolation::kBilinear ? 1.0 : 2.0) * filter_scale;
  const double inverse = 1.0 / filter_scale;
  const auto centre = [&](size_t i) {
    return (static_cast<double>(begin + static_cast<int64_t>(i)) + 0.5) * scale;
  };
  for (size_t i = 0; i < outputs; ++i) {
    axis.first.push_back(std::max(0, static_cast<int>(centre(i) - support + 0.5)));
    axis.count.push_back(std::min(in, static_cast<int>(centre(i) + support + 0.5)) - axis.first[i]);
  }
  axis.begin = axis.first.front();
  axis.end = axis.first.back() + axis.count.back();
  axis.taps = *std::max_element(axis.count.begin(), axis.count.end());
  axis.weights.assign(outputs * axis.taps, 0);
  std::vector<double> weights(axis.taps);
  for (size_t i = 0; i < outputs; ++i) {
    double sum = 0;
    for (int k = 0; k < axis.count[i]; ++k) {
      weights[k] = Filter(interpolation, (k + axis.first[i] - centre(i) + 0.5) * inverse);
      sum += weights[k];
    }
    for (int k = 0; k < axis.count[i]; ++k) {
      const double weight = (sum != 0 ? weights[k] / sum : weights[k]) * (1 << kPrecisionBits);
      axis.weights[i * axis.taps + k] = static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    axis.first[i] -= axis.begin;
  }
  return axis;
}

}  // namespace repvgg
