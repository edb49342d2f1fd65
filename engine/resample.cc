#include "engine/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace repvgg {
namespace {

constexpr int kChannels = 3;
// Pillow's fixed point (src/libImaging/Resample.c): weights have 22 fractional bits, sums are rounded once.
constexpr int kPrecisionBits = 32 - 8 - 2;

double Filter(Interpolation interpolation, double x) {
  x = std::abs(x);
  if (interpolation == Interpolation::kBilinear) return x < 1 ? 1 - x : 0;
  constexpr double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Which input samples make each output sample of one axis, and with what weights.
struct Axis {
  int64_t begin = 0;  // First and one past the last output sample that is wanted.
  int64_t end = 0;
  bool identity = true;          // The axis keeps its size: nothing to compute.
  int taps = 0;                  // Stride of `weights`.
  std::vector<int> first;        // First input sample of each wanted output.
  std::vector<int> count;        // Number of input samples.
  std::vector<int32_t> weights;  // [end - begin][taps]
};

Axis MakeAxis(int in, int64_t size, int64_t begin, int64_t end, Interpolation interpolation) {
  Axis axis;
  axis.begin = begin;
  axis.end = end;
  axis.identity = size == in;
  if (axis.identity) return axis;
  const double scale = static_cast<double>(in) / static_cast<double>(size);
  const double filter_scale = std::max(scale, 1.0);
  const double support = (interpolation == Interpolation::kBilinear ? 1.0 : 2.0) * filter_scale;
  const double inverse = 1.0 / filter_scale;
  axis.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  std::vector<double> weights(axis.taps);
  for (int64_t i = begin; i < end; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - support + 0.5));
    const int count = std::min(in, static_cast<int>(centre + support + 0.5)) - first;
    double sum = 0;
    for (int k = 0; k < count; ++k) {
      weights[k] = Filter(interpolation, (k + first - centre + 0.5) * inverse);
      sum += weights[k];
    }
    axis.first.push_back(first);
    axis.count.push_back(count);
    for (int k = 0; k < axis.taps; ++k) {
      const double weight =
          k < count ? (sum != 0 ? weights[k] / sum : weights[k]) * (1 << kPrecisionBits) : 0;
      axis.weights.push_back(static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5));
    }
  }
  return axis;
}

uint8_t Round(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

// An image, or the part of one that starts at (x0, y0) of the whole.
struct Plane {
  const uint8_t* data;
  int64_t x0, y0;
  int width, height;
  const uint8_t* row(int64_t y) const { return data + static_cast<size_t>(y - y0) * width * kChannels; }
};

Plane Horizontal(const Plane& in, const Axis& axis, std::vector<uint8_t>& storage) {
  if (axis.identity) return in;
  const int width = static_cast<int>(axis.end - axis.begin);
  storage.resize(static_cast<size_t>(width) * in.height * kChannels);
  uint8_t* out = storage.data();
  for (int64_t y = in.y0; y < in.y0 + in.height; ++y) {
    for (int x = 0; x < width; ++x) {
      const uint8_t* from = in.row(y) + static_cast<size_t>(axis.first[x] - in.x0) * kChannels;
      const int32_t* weights = &axis.weights[static_cast<size_t>(x) * axis.taps];
      int32_t sum[kChannels] = {1 << (kPrecisionBits - 1), 1 << (kPrecisionBits - 1),
                                1 << (kPrecisionBits - 1)};
      for (int k = 0; k < axis.count[x]; ++k) {
        for (int c = 0; c < kChannels; ++c) sum[c] += from[k * kChannels + c] * weights[k];
      }
      for (int c = 0; c < kChannels; ++c) *out++ = Round(sum[c]);
    }
  }
  return {storage.data(), axis.begin, in.y0, width, in.height};
}

Plane Vertical(const Plane& in, const Axis& axis, std::vector<uint8_t>& storage) {
  if (axis.identity) return in;
  const int height = static_cast<int>(axis.end - axis.begin);
  const size_t row = static_cast<size_t>(in.width) * kChannels;
  storage.resize(row * height);
  std::vector<int32_t> sums(row);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (kPrecisionBits - 1));
    for (int k = 0; k < axis.count[y]; ++k) {
      const uint8_t* from = in.row(axis.first[y] + k);
      const int32_t weight = axis.weights[static_cast<size_t>(y) * axis.taps + k];
      for (size_t x = 0; x < row; ++x) sums[x] += from[x] * weight;
    }
    uint8_t* out = &storage[y * row];
    for (size_t x = 0; x < row; ++x) out[x] = Round(sums[x]);
  }
  return {storage.data(), in.x0, axis.begin, in.width, height};
}

// Where the crop starts, as Python's round() of (size - crop) / 2 has it: halves go to the even side.
int64_t CropOffset(int64_t size, int crop) {
  return static_cast<int64_t>(std::nearbyint((size - crop) / 2.0));
}

}  // namespace

void ResizeCrop(const uint8_t* pixels, int width, int height, const Geometry& geometry, uint8_t* out) {
  int64_t new_width = width;
  int64_t new_height = height;
  if (geometry.resize > 0) {
    const int64_t narrow = std::min(width, height);
    const int64_t wide = std::max(width, height);
    const auto longer =
        static_cast<int64_t>(static_cast<double>(geometry.resize * wide) / static_cast<double>(narrow));
    new_width = width <= height ? geometry.resize : longer;
    new_height = width <= height ? longer : geometry.resize;
  }
  const int crop = geometry.crop;
  // Padding puts floor((crop - size) / 2) zeros before a small image; the window is what remains of it.
  const int pad_x = static_cast<int>(std::max<int64_t>(0, (crop - new_width) / 2));
  const int pad_y = static_cast<int>(std::max<int64_t>(0, (crop - new_height) / 2));
  const int64_t left = new_width >= crop ? CropOffset(new_width, crop) : 0;
  const int64_t top = new_height >= crop ? CropOffset(new_height, crop) : 0;
  const Axis x = MakeAxis(width, new_width, left, std::min(left + crop, new_width), geometry.interpolation);
  const Axis y = MakeAxis(height, new_height, top, std::min(top + crop, new_height), geometry.interpolation);

  Plane plane = {pixels, 0, 0, width, height};
  std::vector<uint8_t> first;
  std::vector<uint8_t> second;
  // Pillow's Image.resize runs the vertical pass first on very tall images that it makes smaller.
  if (static_cast<int64_t>(height) > static_cast<int64_t>(width) * 100 && new_height < height) {
    plane = Horizontal(Vertical(plane, y, first), x, second);
  } else {
    if (!y.identity) {
      const int rows_begin = y.first.front();
      const int rows_end = y.first.back() + y.count.back();
      plane = {plane.row(rows_begin), 0, rows_begin, width, rows_end - rows_begin};
    } else {
      plane = {plane.row(y.begin), 0, y.begin, width, static_cast<int>(y.end - y.begin)};
    }
    plane = Vertical(Horizontal(plane, x, first), y, second);
  }

  std::memset(out, 0, static_cast<size_t>(crop) * crop * kChannels);
  for (int64_t row = y.begin; row < y.end; ++row) {
    const uint8_t* from = plane.row(row) + static_cast<size_t>(x.begin - plane.x0) * kChannels;
    uint8_t* to = out + (static_cast<size_t>(pad_y + row - y.begin) * crop + pad_x) * kChannels;
    std::memcpy(to, from, static_cast<size_t>(x.end - x.begin) * kChannels);
  }
}

}  // namespace repvgg
