#include "engine/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace repvgg {
namespace {

constexpr int kChannels = 3;
// Pillow's fixed point (src/libImaging/Resample.c): weights have 22 fractional bits, sums are rounded once.
constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);  // Rounds a sum.

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

// The wanted samples of one row.
void HorizontalBaseline(const uint8_t* row, const Axis& axis, uint8_t* out) {
  for (size_t x = 0; x < axis.first.size(); ++x) {
    const uint8_t* from = row + static_cast<size_t>(axis.first[x]) * kChannels;
    const int32_t* weights = &axis.weights[x * axis.taps];
    int32_t sum[kChannels] = {kHalf, kHalf, kHalf};
    for (int k = 0; k < axis.count[x]; ++k) {
      for (int c = 0; c < kChannels; ++c) sum[c] += from[k * kChannels + c] * weights[k];
    }
    for (int c = 0; c < kChannels; ++c) *out++ = Round(sum[c]);
  }
}

// One wanted row of `length` bytes out of `count` rows from `rows` on.
inline __attribute__((always_inline)) void VerticalLoop(const uint8_t* rows, size_t length,
                                                        const int32_t* weights, int count, uint8_t* out) {
  constexpr size_t kBlock = 32;  // Sums that registers hold.
  size_t x = 0;
  for (; x + kBlock <= length; x += kBlock) {
    int32_t sum[kBlock];
    for (size_t i = 0; i < kBlock; ++i) sum[i] = kHalf;
    for (int k = 0; k < count; ++k) {
      const uint8_t* from = rows + k * length + x;
      for (size_t i = 0; i < kBlock; ++i) sum[i] += from[i] * weights[k];
    }
    for (size_t i = 0; i < kBlock; ++i) out[x + i] = Round(sum[i]);
  }
  for (; x < length; ++x) {
    int32_t sum = kHalf;
    for (int k = 0; k < count; ++k) sum += rows[k * length + x] * weights[k];
    out[x] = Round(sum);
  }
}

void VerticalBaseline(const uint8_t* rows, size_t length, const int32_t* weights, int count, uint8_t* out) {
  VerticalLoop(rows, length, weights, count, out);
}

#ifdef __x86_64__

// The three channels of a pixel in one register. Reads one byte beyond the end of the row.
__attribute__((target("avx2"))) void HorizontalAvx2(const uint8_t* row, const Axis& axis, uint8_t* out) {
  const size_t width = axis.first.size();
  const int* first = axis.first.data();
  const int* counts = axis.count.data();
  for (size_t x = 0; x < width; ++x) {
    const uint8_t* from = row + static_cast<size_t>(first[x]) * kChannels;
    const int32_t* weights = &axis.weights[x * axis.taps];
    const int count = counts[x];
    __m128i sum = _mm_set1_epi32(kHalf);
    for (int k = 0; k < count; ++k) {
      int32_t pixel;
      std::memcpy(&pixel, from + k * kChannels, sizeof pixel);
      const __m128i channels = _mm_cvtepu8_epi32(_mm_cvtsi32_si128(pixel));
      sum = _mm_add_epi32(sum, _mm_mullo_epi32(channels, _mm_set1_epi32(weights[k])));
    }
    const __m128i words = _mm_packs_epi32(_mm_srai_epi32(sum, kPrecisionBits), _mm_setzero_si128());
    const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    std::memcpy(out, &bytes, kChannels);
    out += kChannels;
  }
}

__attribute__((target("avx2"))) void VerticalAvx2(const uint8_t* rows, size_t length, const int32_t* weights,
                                                  int count, uint8_t* out) {
  VerticalLoop(rows, length, weights, count, out);
}

const bool has_avx2 = __builtin_cpu_supports("avx2");
const auto horizontal = has_avx2 ? HorizontalAvx2 : HorizontalBaseline;
const auto vertical = has_avx2 ? VerticalAvx2 : VerticalBaseline;
#else
const auto horizontal = HorizontalBaseline;
const auto vertical = VerticalBaseline;
#endif

// The wanted samples of each of `height` rows: [height][axis.end - axis.begin][3].
std::vector<uint8_t> Horizontal(const Axis& axis, int height, int width, const ReadRow& read) {
  const auto wanted = static_cast<size_t>(axis.end - axis.begin) * kChannels;
  std::vector<uint8_t> row(static_cast<size_t>(width) * kChannels + 1);
  std::vector<uint8_t> out(wanted * height);
  for (int y = 0; y < height; ++y) {
    read(row.data());
    uint8_t* to = &out[y * wanted];
    if (axis.identity) {
      std::memcpy(to, &row[axis.begin * kChannels], wanted);
    } else {
      horizontal(row.data(), axis, to);
    }
  }
  return out;
}

// The wanted rows out of `rows`, [rows][length], of which the first is row `offset` of the image.
std::vector<uint8_t> Vertical(const Axis& axis, size_t length, const std::vector<uint8_t>& rows,
                              int64_t offset) {
  const auto wanted = static_cast<size_t>(axis.end - axis.begin);
  std::vector<uint8_t> out(wanted * length);
  for (size_t y = 0; y < wanted; ++y) {
    uint8_t* to = &out[y * length];
    if (axis.identity) {
      std::memcpy(to, &rows[(axis.begin + y - offset) * length], length);
    } else {
      vertical(&rows[(axis.first[y] - offset) * length], length, &axis.weights[y * axis.taps], axis.count[y],
               to);
    }
  }
  return out;
}

// Where the crop starts, as Python's round() of (size - crop) / 2 has it: halves go to the even side.
int64_t CropOffset(int64_t size, int crop) {
  return static_cast<int64_t>(std::nearbyint((size - crop) / 2.0));
}

}  // namespace

void ResizeCrop(int width, int height, const Geometry& geometry, const ReadRow& read, uint8_t* out) {
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

  std::vector<uint8_t> pixels;
  // Pillow's Image.resize runs the vertical pass first on very tall images that it makes smaller.
  if (static_cast<int64_t>(height) > static_cast<int64_t>(width) * 100 && new_height < height) {
    const size_t length = static_cast<size_t>(width) * kChannels;
    std::vector<uint8_t> rows(length * height);
    for (int row = 0; row < height; ++row) read(&rows[row * length]);
    rows = Vertical(y, length, rows, 0);
    const uint8_t* next = rows.data();
    pixels = Horizontal(x, static_cast<int>(y.end - y.begin), width, [&](uint8_t* row) {
      std::memcpy(row, next, length);
      next += length;
    });
  } else {
    const int64_t first = y.identity ? y.begin : y.first.front();
    const int64_t end = y.identity ? y.end : y.first.back() + y.count.back();
    std::vector<uint8_t> skipped(static_cast<size_t>(width) * kChannels);
    for (int64_t row = 0; row < first; ++row) read(skipped.data());
    const std::vector<uint8_t> rows = Horizontal(x, static_cast<int>(end - first), width, read);
    pixels = Vertical(y, static_cast<size_t>(x.end - x.begin) * kChannels, rows, first);
  }

  std::memset(out, 0, static_cast<size_t>(crop) * crop * kChannels);
  const auto length = static_cast<size_t>(x.end - x.begin) * kChannels;
  for (int64_t row = 0; row < y.end - y.begin; ++row) {
    uint8_t* to = out + (static_cast<size_t>(pad_y + row) * crop + pad_x) * kChannels;
    std::memcpy(to, &pixels[row * length], length);
  }
}

void ResizeCrop(const uint8_t* pixels, int width, int height, const Geometry& geometry, uint8_t* out) {
  const size_t length = static_cast<size_t>(width) * kChannels;
  const ReadRow read = [&](uint8_t* row) {
    std::memcpy(row, pixels, length);
    pixels += length;
  };
  ResizeCrop(width, height, geometry, read, out);
}

}  // namespace repvgg
