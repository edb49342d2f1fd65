#include "cuda/stem.h"

#include <cmath>

#include "test/emulator/maps.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Precision;

void RunStem(Precision precision, int channels, int height, int width, int batch) {
  constexpr std::array<float, 3> kMean = {0.485f, 0.456f, 0.406f}, kDeviation = {0.229f, 0.224f, 0.225f};
  std::vector<uint8_t> pixels;
  for (const float value : RandomNormal(static_cast<size_t>(batch) * height * width * 3, 90, 4)) {
    pixels.push_back(static_cast<uint8_t>(std::abs(value) > 255 ? 255 : std::abs(value)));
  }
  const std::vector<float> weight = RandomNormal(static_cast<size_t>(channels) * 27, 0.27, 5);
  const std::vector<float> bias = RandomNormal(channels, 0.1, 6);
  const DeviceArray<uint8_t> in(pixels);
  const DeviceArray<float> table(cuda::NormalizationTable(kMean, kDeviation));
  const DeviceArray<float> packed(cuda::PackStem(weight.data(), channels)), device_bias(bias);
  const cuda::Stem stem = {in.data(), table.data(), packed.data(), device_bias.data(), nullptr, batch,
                           height,    width,        channels};
  const Maps out(precision, static_cast<size_t>(batch) * stem.out_height() * stem.out_width() * channels);
  cuda::Stem launched = stem;
  launched.out = out.data();
  if (cuda::LaunchStem(launched, precision, nullptr) != cudaSuccess) Fail("not launched");
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");

  std::vector<double> expected;
  for (int i = 0; i < batch * stem.out_height() * stem.out_width(); ++i) {
    const int x = i % stem.out_width() * 2, y = i / stem.out_width() % stem.out_height() * 2;
    const int image = i / stem.out_width() / stem.out_height();
    for (int k = 0; k < channels; ++k) {
      double sum = bias[k];
      for (int tap = 0; tap < 27; ++tap) {
        const int c = tap / 9, from_y = y + tap / 3 % 3 - 1, from_x = x + tap % 3 - 1;
        if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width) continue;
        const int value = pixels[((static_cast<size_t>(image) * height + from_y) * width + from_x) * 3 + c];
        // In float, as torchvision and the CPU backend do it.
        sum += static_cast<double>((static_cast<float>(value) / 255.0f - kMean[c]) / kDeviation[c]) *
               weight[k * 27 + tap];
      }
      expected.push_back(std::max(sum, 0.0));
    }
  }
  // Inputs are not rounded to the precision of the maps, so only the output's rounding counts.
  const std::vector<double> got = out.Values();
  ExpectWithin(Compare(got, expected), DirectBound(precision));
  if (precision == Precision::kFp32) return;
  size_t others = 0;
  for (size_t i = 0; i < got.size(); ++i)
    others += got[i] != RoundTo(precision)(static_cast<float>(expected[i]));
  if (others * 100 > got.size()) Fail(std::to_string(others) + " values are not the nearest");
}

[[maybe_unused]] const bool registered = [] {
  struct Size {
    int channels, height, width, batch;
  };
  // Official stems have 48 or 64 channels. Odd sizes and partial tiles in both directions; a single pixel.
  for (const Size size : {Size{48, 32, 40, 2}, Size{64, 35, 33, 1}, Size{16, 18, 34, 1}, Size{32, 1, 1, 3},
                          Size{26, 15, 17, 1}, Size{13, 9, 21, 1}, Size{96, 10, 36, 1}}) {
    for (const Precision precision :
         {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16, Precision::kFp8}) {
      if (precision == Precision::kFp8 && size.channels % 16 != 0) continue;
      cases().push_back({std::string("stem ") + PrecisionName(precision) + ": " +
                             std::to_string(size.channels) + " channels, " + std::to_string(size.batch) +
                             " x " + std::to_string(size.height) + " x " + std::to_string(size.width),
                         [=] { RunStem(precision, size.channels, size.height, size.width, size.batch); }});
    }
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
