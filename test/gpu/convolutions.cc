// Every convolution kernel with every tile, on every layer of the official networks at its own size.
#include <cstdio>
#include <map>

#include "cuda/stem.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

using emulator::Layer;
using emulator::Problem;

// How far a layer of rounded inputs may be from float64.
Distance Bound(Precision precision, cuda::Algorithm algorithm) {
  constexpr Distance kDirect[] = {{6e-7, 1e-5}, {6e-4, 4e-3}, {3e-4, 4e-3}, {2.5e-3, 3e-2}, {4e-2, 1}};
  constexpr Distance kF2[] = {{1.5e-6, 1e-5}, {1e-3, 8e-3}, {9e-4, 8e-3}, {7e-3, 5e-2}};
  if (algorithm == cuda::Algorithm::kWinogradF4) return {5e-6, 1e-4};
  if (algorithm == cuda::Algorithm::kChainF4) {
    return precision == Precision::kFp16 ? Distance{2.5e-3, 2.5e-2} : Distance{2e-2, 2e-1};
  }
  if (algorithm == cuda::Algorithm::kChainF2) return kF2[static_cast<int>(precision)];
  return (algorithm == cuda::Algorithm::kWinogradF2 ? kF2 : kDirect)[static_cast<int>(precision)];
}

// At 224 x 224 the sides of the maps follow from the channels, nearly.
Layer FullSize(Layer layer) {
  const int channels = layer.in_channels;
  const int side = channels <= 64 ? 112 : channels <= 192 ? 56 : channels <= 384 ? 28 : 14;
  layer.height = layer.width = layer.stride == 1 ? std::min(side, 56) : side;
  layer.batch = side >= 56 ? 1 : 3;
  return layer;
}

void Say(const char* what, const cuda::Candidate& candidate) {
  std::printf("{\"%s\": \"%s\"}\n", what, candidate.name.c_str());
  std::fflush(stdout);
}

std::vector<cuda::Candidate> Candidates(const Layer& layer, Precision precision) {
  auto candidates = ListCandidates(layer, precision, Architecture(), "", cuda::WinogradClass::kF4);
  // Volta's kernels run on every later GPU; nothing chooses them there.
  const auto volta = precision == Precision::kFp16 && Architecture() >= 80
                         ? ListCandidates(layer, precision, 70, "direct")
                         : std::vector<cuda::Candidate>();
  candidates.insert(candidates.end(), volta.begin(), volta.end());
  return candidates;
}

// A kernel that does not end or breaks the device is the last one that was said to be running.
void RunLayer(const Layer& layer, Precision precision) {
  constexpr emulator::Round kRounds[] = {emulator::AsFloat, emulator::AsTf32, emulator::AsHalf,
                                         emulator::AsBFloat16, RoundToE4m3};
  const Problem problem = emulator::MakeProblem(layer, kRounds[static_cast<int>(precision)]);
  const cuda::DeviceMemory in = UploadVector(Encode(problem.in, precision)),
                           bias = UploadVector(problem.bias),
                           scale = UploadVector(std::vector<float>(layer.out_channels, 1.0f));
  const size_t bytes = problem.expected.size() * cuda::ElementSize(precision);
  const cuda::DeviceMemory out = cuda::AllocateDevice(bytes);
  std::map<cuda::Algorithm, cuda::DeviceMemory> weights;
  std::vector<unsigned char> sm90a;  // Of whichever tile came first.
  for (const cuda::Candidate& candidate : Candidates(layer, precision)) {
    cuda::DeviceMemory& weight = weights[candidate.algorithm];
    if (weight == nullptr) {
      weight = UploadVector(PackConvolution(layer, problem.weight.data(), precision, candidate.algorithm));
    }
    const cuda::DeviceMemory workspace = cuda::AllocateDevice(WorkspaceBytes(layer, candidate));
    cuda::Convolution run = layer;
    run.in = in.get();
    run.weight = weight.get();
    run.bias = static_cast<const float*>(bias.get());
    run.scale = static_cast<const float*>(scale.get());
    run.out = out.get();
    run.workspace = workspace.get();
    Say("running", candidate);
    std::vector<unsigned char> got[2];
    for (auto& bytes_of_run : got) {
      cuda::Check(cudaMemset(out.get(), 0xff, bytes), "poisoning");
      cuda::Check(LaunchConvolution(run, precision, candidate, nullptr), "launching");
      cuda::Check(cudaDeviceSynchronize(), "running a convolution");
      bytes_of_run = Download<unsigned char>(out, bytes);
    }
    if (candidate.algorithm == cuda::Algorithm::kDirectSm90a && candidate.splits == 1) {
      if (sm90a.empty()) sm90a = got[0];
      if (got[0] != sm90a) emulator::Fail(candidate.name + " has other bits than another tile");
    }
    const Distance distance = emulator::Compare(Decode(got[0], precision), problem.expected);
    const Distance bound = Bound(precision, candidate.algorithm);
    if (got[0] != got[1]) emulator::Fail("two runs differ");
    ExpectWithin(distance, bound);
    if (got[0] == got[1] && distance.relative_l2 <= bound.relative_l2 && distance.max <= bound.max) continue;
    emulator::Fail("in " + candidate.name);
    Say("wrong", candidate);
  }
}

constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16,
                                     Precision::kFp8};

// One case for each layer and precision: what fails in one says nothing about the others.
void AddLayer(const std::string& group, const Layer& layer, Precision precision) {
  const std::string name = group + ": " + cuda::PrecisionName(precision) + ", " + emulator::LayerName(layer);
  emulator::cases().push_back({name, [=] {
                                 if (Has(precision)) RunLayer(layer, precision);
                               }});
}

const bool added = [] {
  for (const Precision precision : kPrecisions) {
    // compute-sanitizer runs these: every kernel, on layers that it can do in seconds.
    AddLayer("small layers", emulator::MakeLayer(64, 96, 1, 1, 9, 2), precision);
    AddLayer("small layers", emulator::MakeLayer(32, 64, 2, 1, 9, 2), precision);
    AddLayer("small layers", emulator::MakeLayer(128, 128, 1, 2, 6, 1), precision);
    for (const Layer& layer : emulator::OfficialLayers()) {
      AddLayer("convolutions", FullSize(layer), precision);
    }
    // A batch that Winograd's chains take in slices; channels that fill no 16 bytes, and an odd size.
    AddLayer("convolutions", emulator::MakeLayer(64, 64, 1, 1, 28, 73), precision);
    AddLayer("convolutions", emulator::MakeLayer(13, 26, 1, 1, 17, 2), precision);
  }
  return true;
}();

TEST("stem: every precision, 224 x 224 and an odd size") {
  for (const Precision precision : kPrecisions) {
    if (!Has(precision)) continue;
    for (const int size : {224, 31}) {
      cuda::Stem stem;
      stem.batch = 2;
      stem.height = size;
      stem.width = size + 1;
      stem.out_channels = 48;
      std::vector<uint8_t> pixels(size_t{2} * size * (size + 1) * 3);
      for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
      const std::vector<float> table =
          cuda::NormalizationTable({0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f});
      const std::vector<float> weight = emulator::RandomNormal(48 * 27, 0.27, 4);
      const std::vector<float> bias = emulator::RandomNormal(48, 0.1, 5);
      const cuda::DeviceMemory device_pixels = UploadVector(pixels), device_table = UploadVector(table),
                               device_weight = UploadVector(cuda::PackStem(weight.data(), 48)),
                               device_bias = UploadVector(bias);
      const size_t count = size_t{2} * stem.out_height() * stem.out_width() * 48;
      const cuda::DeviceMemory out = cuda::AllocateDevice(count * cuda::ElementSize(precision));
      stem.in = static_cast<const uint8_t*>(device_pixels.get());
      stem.normalized = static_cast<const float*>(device_table.get());
      stem.weight = static_cast<const float*>(device_weight.get());
      stem.bias = static_cast<const float*>(device_bias.get());
      stem.out = out.get();
      cuda::Check(LaunchStem(stem, precision, nullptr), "launching");
      cuda::Check(cudaDeviceSynchronize(), "running the stem");

      std::vector<double> expected(count);
      for (size_t i = 0; i < count; ++i) {
        const int k = i % 48, x = i / 48 % stem.out_width();
        const int y = i / 48 / stem.out_width() % stem.out_height();
        const size_t image = i / 48 / stem.out_width() / stem.out_height();
        double sum = bias[k];
        for (int tap = 0; tap < 9; ++tap) {
          const int from_y = 2 * y + tap / 3 - 1, from_x = 2 * x + tap % 3 - 1;
          if (from_y < 0 || from_y >= stem.height || from_x < 0 || from_x >= stem.width) continue;
          for (int c = 0; c < 3; ++c) {
            const uint8_t value = pixels[((image * stem.height + from_y) * stem.width + from_x) * 3 + c];
            sum += static_cast<double>(table[c * 256 + value]) * weight[(k * 3 + c) * 9 + tap];
          }
        }
        expected[i] = std::max(sum, 0.0);
      }
      const auto got = Download<unsigned char>(out, count * cuda::ElementSize(precision));
      ExpectWithin(emulator::Compare(Decode(got, precision), expected),
                   Bound(precision, cuda::Algorithm::kDirect));
    }
  }
}

}  // namespace
}  // namespace repvgg::gpu
