// What the direct kernels' weights lose by rounding: PackConvolution keeps the sum of each kernel.
#include <algorithm>
#include <cmath>

#include "cuda/candidates.h"
#include "cuda/direct_mma.h"
#include "cuda/direct_sm90a.h"
#include "cuda/formats.h"
#include "test/emulator/maps.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Algorithm;

// Positive and much the same in neighbouring pixels, as maps behind a ReLU are.
std::vector<float> SmoothMap(const Layer& layer, Precision precision) {
  std::vector<float> level = RandomNormal(layer.in_channels, 1, 11);
  std::vector<float> map =
      RandomNormal(static_cast<size_t>(layer.height) * layer.width * layer.in_channels, 0.1, 12);
  for (size_t i = 0; i < map.size(); ++i) {
    map[i] = RoundTo(precision)(std::abs(level[i % level.size()] + map[i]));
  }
  return map;
}

// The root mean square, over output channels, of the mean error of a channel's pixels inside the border.
double Offset(const Layer& layer, const std::vector<double>& got, const std::vector<float>& in,
              const std::vector<float>& weight) {
  double square = 0;
  for (int k = 0; k < layer.out_channels; ++k) {
    double error = 0;
    for (int y = 1; y + 1 < layer.height; ++y) {
      for (int x = 1; x + 1 < layer.width; ++x) {
        error += got[(y * layer.width + x) * layer.out_channels + k];
        for (int tap = 0; tap < 9; ++tap) {
          const float* const pixel =
              &in[((y + tap / 3 - 1) * layer.width + x + tap % 3 - 1) * layer.in_channels];
          for (int c = 0; c < layer.in_channels; ++c) {
            error -= double{pixel[c]} * weight[(k * layer.in_channels + c) * 9 + tap];
          }
        }
      }
    }
    square += error * error;
  }
  return std::sqrt(square / layer.out_channels) / (layer.height - 2) / (layer.width - 2);
}

void SumsAreKept(Precision precision, Algorithm algorithm) {
  Layer layer = MakeLayer(32, 64, 1, 1, 16);
  layer.relu = false;
  const std::vector<float> weight = RandomNormal(64 * 32 * 9, std::sqrt(2.0 / 9 / 32), 13);
  const std::vector<float> in = SmoothMap(layer, precision);
  const Maps device_in(precision, in);
  const DeviceArray<float> bias(std::vector<float>(layer.out_channels));
  const auto offset = [&](const std::vector<unsigned char>& packed) {
    const DeviceArray<unsigned char> device_weight(packed);
    const Maps out(precision, static_cast<size_t>(layer.pixels()) * layer.out_channels);
    Layer run = layer;
    run.in = device_in.data();
    run.weight = device_weight.data();
    run.bias = bias.data();
    run.out = out.data();
    const cuda::Candidate candidate = {algorithm, 1, ""};
    if (LaunchConvolution(run, precision, candidate, nullptr) != cudaSuccess) Fail("not launched");
    return Offset(layer, out.Values(), in, weight);
  };
  const auto pack =
      algorithm == Algorithm::kDirectSm90a ? cuda::PackDirectSm90a : cuda::PackDirectMma;  // To nearest.
  const double nearest = offset(pack(layer, weight.data(), precision));
  const double kept = offset(PackConvolution(layer, weight.data(), precision, algorithm));
  if (!(kept < nearest / 4)) {
    Fail("kept sums leave " + std::to_string(kept / nearest) + " of the offset");
  }
}

TEST("kernel rounding: several threads round what one would") {
  for (const size_t count : {0, 1, 100, (1 << 14) + 3}) {
    const std::vector<float> weight = RandomNormal(count * 9, 1, 14);
    const std::vector<float> all = cuda::RoundKernels(weight.data(), count, Precision::kBf16);
    for (size_t i = 0; i < count; ++i) {
      const std::vector<float> one = cuda::RoundKernels(&weight[i * 9], 1, Precision::kBf16);
      if (!std::equal(one.begin(), one.end(), &all[i * 9])) return Fail("kernel " + std::to_string(i));
    }
  }
}

// Against the compiler's own type, and bits that no other value has.
TEST("formats: fp16 to float and back") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = cuda::HalfBitsToFloat(static_cast<uint16_t>(bits));
    if (FloatToBits(value) != FloatToBits(HalfToFloat(static_cast<uint16_t>(bits))) && !std::isnan(value)) {
      Fail(std::to_string(bits) + " became " + std::to_string(value));
    }
    if (std::isnan(value) != ((bits & 0x7fff) > 0x7c00)) Fail(std::to_string(bits) + ": NaN");
    if (!std::isnan(value) && cuda::FloatToHalfBits(value) != bits) Fail(std::to_string(bits) + ": not back");
  }
}

[[maybe_unused]] const bool registered = [] {
  for (const Precision precision : {Precision::kTf32, Precision::kFp16, Precision::kBf16}) {
    const auto add = [&](const char* name, Algorithm algorithm) {
      cases().push_back({std::string("kernel rounding: ") + PrecisionName(precision) + name,
                         [=] { SumsAreKept(precision, algorithm); }});
    };
    add("", Algorithm::kDirect);
    if (precision == Precision::kFp16) add(" by wmma", Algorithm::kDirectWmma);
    if (precision != Precision::kTf32) add(" on sm_90a", Algorithm::kDirectSm90a);
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
