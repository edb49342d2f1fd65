#include "engine/fuse_rows.h"

#include <cstdint>
#include <cstring>
#include <vector>

namespace repvgg {
namespace {

constexpr size_t kTaps = 9;
constexpr size_t kCentre = 4;

// Returns 0 or 1, and has no branches, so that loops vectorise.
inline uint32_t IsNotFinite(float value) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits & kExponent) == kExponent;
}

// Scales in double precision; true if all results are finite.
inline __attribute__((always_inline)) bool Scale(float* values, size_t count, double scale) {
  uint32_t bad = 0;
  for (size_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(values[i] * scale);
    bad |= IsNotFinite(value);
    values[i] = value;
  }
  return bad == 0;
}

bool ScaleBaseline(float* values, size_t count, double scale) { return Scale(values, count, scale); }

#ifdef __x86_64__
__attribute__((target("avx2"))) bool ScaleAvx2(float* values, size_t count, double scale) {
  return Scale(values, count, scale);
}
const auto ScaleBest = __builtin_cpu_supports("avx2") ? ScaleAvx2 : ScaleBaseline;
#else
const auto ScaleBest = ScaleBaseline;
#endif

}  // namespace

bool FuseRows(float* target, const float* dense, const float* pointwise, const BranchScales& scales,
              size_t first, size_t count, size_t width) {
  const size_t length = kTaps * width;
  std::vector<float> centres(width);
  bool finite = true;
  for (size_t row = 0; row < count; ++row, target += length, dense += length) {
    const size_t channel = first + row;
    const double scale = scales.dense[channel];
    const double pointwise_scale = scales.pointwise[channel];
    const float* points = pointwise + row * width;
    const auto centre = [&](size_t column, double added) {
      const double product = dense[column * kTaps + kCentre] * scale;
      return static_cast<float>(product + points[column] * pointwise_scale + added);
    };
    // Without an identity branch -0 is added: x + -0 is x for every x, whereas -0 + 0 is +0.
    const double other = scales.identity ? 0.0 : -0.0;
    for (size_t column = 0; column < width; ++column) centres[column] = centre(column, other);
    if (scales.identity) centres[channel % width] = centre(channel % width, scales.identity[channel]);

    // All taps as if none were the centre, so that the loop vectorises; then the centres are put in place.
    if (dense != target) std::memcpy(target, dense, length * sizeof(float));
    finite &= ScaleBest(target, length, scale);
    for (size_t column = 0; column < width; ++column) target[column * kTaps + kCentre] = centres[column];
    finite &= ScaleBest(centres.data(), width, 1.0);
  }
  return finite;
}

bool AllFinite(const float* values, size_t count) {
  uint32_t bad = 0;
  for (size_t i = 0; i < count; ++i) bad |= IsNotFinite(values[i]);
  return bad == 0;
}

}  // namespace repvgg
