#include "test/emulator/maps.h"
#include "test/emulator/stem_problem.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

void RunStem(Precision precision, int channels, int height, int width, int batch) {
  cuda::Stem stem;
  stem.batch = batch, stem.height = height, stem.width = width, stem.out_channels = channels;
  const StemProblem problem = MakeStemProblem(stem);
  const std::vector<double>& expected = problem.expected;
  const DeviceArray<uint8_t> in(problem.pixels);
  const DeviceArray<float> table(problem.normalized), bias(problem.bias);
  const DeviceArray<float> packed(cuda::PackStem(problem.weight.data(), channels));
  const Maps out(precision, expected.size());
  stem.in = in.data(), stem.normalized = table.data();
  stem.weight = packed.data(), stem.bias = bias.data(), stem.out = out.data();
  if (cuda::LaunchStem(stem, precision, nullptr) != cudaSuccess) Fail("not launched");
  if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");
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
