#include "cuda/stem_fused.h"

#include "cuda/direct_mma.h"
#include "test/emulator/maps.h"
#include "test/emulator/stem_problem.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

std::vector<double> Rounded(const std::vector<double>& values, Round round) {
  std::vector<double> rounded;
  for (const double value : values) rounded.push_back(round(static_cast<float>(value)));
  return rounded;
}

// Images and parameters of the first two layers, on the device.
class FirstLayers {
 public:
  FirstLayers(Precision precision, int middle, int channels, int height, int width, int batch)
      : FirstLayers(precision, MakeStem(middle, height, width, batch), channels) {}

  // Of images from `first` on.
  std::vector<double> Fused(int first, int batch) const {
    const Maps out(precision_, OutElements(batch));
    const cuda::Stem stem = StemOf(first, batch, nullptr);
    if (cuda::LaunchStemFused(stem, NextOf(batch, nullptr, out.data()), precision_, nullptr) != cudaSuccess) {
      Fail("not launched");
    }
    if (CountUnwritten(out.data()) != 0) Fail("outputs were not written");
    return out.Values();
  }
  std::vector<double> Separate() const {
    const Maps middle(precision_, problem_.expected.size()), out(precision_, OutElements(stem_.batch));
    const cuda::Stem stem = StemOf(0, stem_.batch, middle.data());
    const cuda::Convolution next = NextOf(stem_.batch, middle.data(), out.data());
    if (cuda::LaunchStemMma(stem, precision_, nullptr) != cudaSuccess ||
        cuda::DirectMmaTileTable(precision_)[1].launch(next, nullptr) != cudaSuccess) {
      Fail("not launched");
    }
    return out.Values();
  }
  const std::vector<double>& expected() const { return next_problem_.expected; }
  size_t OutElements(int batch) const {
    return static_cast<size_t>(batch) * next_.out_height() * next_.out_width() * next_.out_channels;
  }

 private:
  static cuda::Stem MakeStem(int middle, int height, int width, int batch) {
    cuda::Stem stem;
    stem.batch = batch, stem.height = height, stem.width = width, stem.out_channels = middle;
    return stem;
  }
  static Layer MakeNext(const cuda::Stem& stem, int channels) {
    Layer next = MakeLayer(stem.out_channels, channels, 2, 1, stem.out_height(), stem.batch);
    next.width = stem.out_width();
    return next;
  }
  FirstLayers(Precision precision, const cuda::Stem& stem, int channels)
      : precision_(precision),
        stem_(stem),
        next_(MakeNext(stem, channels)),
        problem_(MakeStemProblem(stem)),
        next_problem_(MakeProblem(next_, RoundTo(precision), Rounded(problem_.expected, RoundTo(precision)))),
        pixels_(problem_.pixels),
        table_(problem_.normalized),
        stem_weight_(cuda::PackStem(problem_.weight.data(), stem.out_channels)),
        stem_bias_(problem_.bias),
        bias_(next_problem_.bias),
        weight_(cuda::PackDirectMma(next_, next_problem_.weight.data(), precision)) {
    if (!cuda::StemFusedFits(stem_, next_, precision)) Fail("does not fit");
  }

  cuda::Stem StemOf(int first, int batch, void* out) const {
    cuda::Stem stem = stem_;
    stem.batch = batch;
    stem.in = pixels_.data() + static_cast<size_t>(first) * stem.height * stem.width * 3;
    stem.normalized = table_.data(), stem.weight = stem_weight_.data(), stem.bias = stem_bias_.data();
    stem.out = out;
    return stem;
  }
  cuda::Convolution NextOf(int batch, const void* in, void* out) const {
    cuda::Convolution next = next_;
    next.batch = batch;
    next.in = in, next.weight = weight_.data(), next.bias = bias_.data(), next.out = out;
    return next;
  }

  const Precision precision_;
  const cuda::Stem stem_;
  const Layer next_;
  const StemProblem problem_;
  const Problem next_problem_;
  const DeviceArray<uint8_t> pixels_;
  const DeviceArray<float> table_, stem_weight_, stem_bias_, bias_;
  const DeviceArray<unsigned char> weight_;
};

struct Size {
  int middle, channels, height, width, batch;
};

void Run(Precision precision, const Size& size) {
  const FirstLayers layers(precision, size.middle, size.channels, size.height, size.width, size.batch);
  const std::vector<double> got = layers.Fused(0, size.batch);
  ExpectWithin(Compare(got, layers.expected()), DirectBound(precision));
  if (got != layers.Separate()) Fail("other bits than the two layers by themselves");
  std::vector<double> parts;
  for (int first = 0, part = 1; first < size.batch; first += part, part = size.batch - first) {
    const std::vector<double> own = layers.Fused(first, part);
    parts.insert(parts.end(), own.begin(), own.end());
  }
  if (got != parts) Fail("other bits in another batch");
}

[[maybe_unused]] const bool registered = [] {
  const auto add = [](Precision precision, const Size& size, auto run) {
    cases().push_back({std::string("stem fused ") + PrecisionName(precision) + ": " +
                           std::to_string(size.middle) + " to " + std::to_string(size.channels) + ", " +
                           std::to_string(size.batch) + " x " + std::to_string(size.height) + " x " +
                           std::to_string(size.width),
                       [=] { run(precision, size); }});
  };
  for (const Precision precision : {Precision::kFp16, Precision::kBf16}) {
    // Those of the official networks. Six tiles an image, cut off at the right and below, of which a block
    // does several.
    for (const auto& [middle, channels] :
         {std::pair(48, 48), {64, 64}, {64, 96}, {64, 128}, {64, 160}, {64, 192}}) {
      add(precision, {middle, channels, 37, 70, 2}, Run);
    }
    // Channels that do not fill a tile; one pixel; a row; whole tiles; odd sizes by one more than tiles.
    for (const Size& size : {Size{48, 24, 20, 17, 3}, Size{64, 72, 18, 33, 1}, Size{64, 64, 1, 1, 3},
                             Size{48, 48, 2, 67, 1}, Size{64, 64, 64, 32, 1}, Size{48, 48, 33, 65, 1}}) {
      add(precision, size, Run);
    }
  }
  add(Precision::kFp16, {64, 64, 40, 66, 1}, [](Precision precision, const Size& size) {
    for (const Schedule schedule : kSchedules) {
      settings().schedule = schedule;
      Run(precision, size);
    }
  });
  return true;
}();

TEST("stem fused: fits the first two layers of networks without gates, in 16 bits") {
  cuda::Stem stem;
  stem.height = stem.width = 224;
  stem.out_channels = 64;
  const auto fits = [&](const Layer& next, Precision precision = Precision::kFp16) {
    return cuda::StemFusedFits(stem, next, precision);
  };
  if (!fits(MakeLayer(64, 128, 2, 1, 112)) || !fits(MakeLayer(64, 192, 2, 1, 112), Precision::kBf16)) {
    Fail("should fit");
  }
  if (fits(MakeLayer(64, 128, 2, 1, 112), Precision::kTf32)) Fail("tf32 fits");
  if (fits(MakeLayer(64, 64, 1, 1, 112))) Fail("stride 1 fits");
  if (fits(MakeLayer(64, 64, 2, 2, 112))) Fail("groups fit");
  if (fits(MakeLayer(64, 200, 2, 1, 112)) || fits(MakeLayer(64, 68, 2, 1, 112)))
    Fail("200 or 68 channels fit");
  if (fits(MakeLayer(64, 64, 2, 1, 56))) Fail("a map of another size fits");
}

}  // namespace
}  // namespace repvgg::emulator
