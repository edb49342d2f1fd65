// Every convolution kernel with every tile, on every layer of the official networks at its own size.
#include <map>

#include "engine/error.h"
#include "test/emulator/stem_problem.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

using emulator::Layer;
using emulator::Problem;
using emulator::RoundTo;

Distance Bound(Precision precision, cuda::Algorithm algorithm) {
  switch (algorithm) {
    case cuda::Algorithm::kWinogradF2:
    case cuda::Algorithm::kChainF2:
      return emulator::WinogradBound(precision, 2);
    case cuda::Algorithm::kWinogradF4:
    case cuda::Algorithm::kChainF4:
      return emulator::WinogradBound(precision, 4);
    default:
      return emulator::DirectBound(precision);
  }
}

// Roughly the map sizes that layers with these channels have at 224 x 224.
Layer FullSize(Layer layer) {
  const int channels = layer.in_channels;
  const int side = channels <= 64 ? 112 : channels <= 192 ? 56 : channels <= 384 ? 28 : 14;
  layer.height = layer.width = layer.stride == 1 ? std::min(side, 56) : side;
  layer.batch = side >= 56 ? 1 : 3;
  return layer;
}

std::vector<cuda::Candidate> Candidates(const Layer& layer, Precision precision) {
  auto candidates = ListCandidates(layer, precision, Architecture(), {});
  // Volta's kernels run on every later GPU as well, but are never chosen there.
  const auto volta = precision == Precision::kFp16 && Architecture() >= 80
                         ? ListCandidates(layer, precision, 70, {ConvolutionAlgorithm::kDirect})
                         : std::vector<cuda::Candidate>();
  candidates.insert(candidates.end(), volta.begin(), volta.end());
  return candidates;
}

// Runs a kernel twice: alone, and as in a network, from a graph and right after a kernel that may not have
// finished when it starts. If a kernel hangs or breaks the device, it is the last one reported as running.
void RunTwice(const cuda::Convolution& layer, Precision precision, const cuda::Candidate& candidate,
              const cuda::DeviceMemory& out, size_t bytes, std::vector<unsigned char> (&got)[2]) {
  Say("running", candidate.name);
  const cuda::Stream stream = cuda::MakeStream();
  const auto launch = [&] {
    cuda::Check(LaunchConvolution(layer, precision, candidate, stream.get()), "launching");
  };
  for (int i = 0; i < 2; ++i) {
    cuda::Check(cudaMemsetAsync(out.get(), 0xff, bytes, stream.get()), "poisoning");
    cuda::Graph graph;
    if (i == 0) {
      launch();
    } else {
      graph = cuda::CaptureGraph(stream.get(), [&] {
        for (int j = 0; j < 3; ++j) launch();
      });
      cuda::Check(cudaGraphLaunch(graph.get(), stream.get()), "launching a graph");
    }
    cuda::Check(cudaStreamSynchronize(stream.get()), "running a convolution");
    got[i] = Download<unsigned char>(out, bytes);
  }
}

void RunLayer(const Layer& layer, Precision precision) {
  const Problem problem = emulator::MakeProblem(layer, RoundTo(precision));
  const cuda::DeviceMemory in = UploadVector(Encode(problem.in, precision)),
                           bias = UploadVector(problem.bias),
                           scale = UploadVector(std::vector<float>(layer.out_channels, 1.0f));
  const size_t bytes = problem.expected.size() * ElementSize(precision);
  const cuda::DeviceMemory out = cuda::AllocateDevice(bytes);
  std::map<cuda::Algorithm, cuda::DeviceMemory> weights;
  std::map<int, std::vector<unsigned char>> sm90a;  // The first tile's result, by parts of the reduction.
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
    std::vector<unsigned char> got[2];
    try {
      RunTwice(run, precision, candidate, out, bytes, got);
    } catch (const Error& error) {
      if (error.code() != cuda::kDeviceRefused) throw;
      emulator::Fail(candidate.name + ": " + error.what());
      Say("wrong", candidate.name);
      continue;
    }
    if (candidate.algorithm == cuda::Algorithm::kDirectSm90a) {
      const std::vector<unsigned char>& first = sm90a.emplace(candidate.parts.count, got[0]).first->second;
      if (got[0] != first) emulator::Fail(candidate.name + " has other bits than another tile");
    }
    const Distance distance = emulator::Compare(Decode(got[0], precision), problem.expected);
    const Distance bound = Bound(precision, candidate.algorithm);
    if (got[0] != got[1]) emulator::Fail("two runs differ");
    ExpectWithin(distance, bound);
    if (got[0] == got[1] && distance.relative_l2 <= bound.relative_l2 && distance.max <= bound.max) continue;
    emulator::Fail("in " + candidate.name);
    Say("wrong", candidate.name);
  }
}

constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16,
                                     Precision::kFp8};

// One case per layer and precision, so that a failure does not hide others.
void AddLayer(const std::string& group, const Layer& layer, Precision precision) {
  const std::string name = group + ": " + PrecisionName(precision) + ", " + emulator::LayerName(layer);
  emulator::cases().push_back({name, [=] {
                                 if (Has(precision)) RunLayer(layer, precision);
                               }});
}

const bool added = [] {
  for (const Precision precision : kPrecisions) {
    // For compute-sanitizer: every kernel, on layers that it can run in seconds.
    AddLayer("small layers", emulator::MakeLayer(64, 96, 1, 1, 9, 2), precision);
    AddLayer("small layers", emulator::MakeLayer(32, 64, 2, 1, 9, 2), precision);
    AddLayer("small layers", emulator::MakeLayer(128, 128, 1, 2, 6, 1), precision);
    for (const Layer& layer : emulator::OfficialLayers()) {
      AddLayer("convolutions", FullSize(layer), precision);
    }
    // A batch that Winograd chains process in slices; unaligned channels, and an odd size.
    AddLayer("convolutions", emulator::MakeLayer(64, 64, 1, 1, 28, 73), precision);
    AddLayer("convolutions", emulator::MakeLayer(13, 26, 1, 1, 17, 2), precision);
  }
  return true;
}();

// Pixels and parameters of the first layer, on the device.
class FirstLayer {
 public:
  FirstLayer(int channels, int height, int width, int batch)
      : shape_(MakeShape(channels, height, width, batch)),
        problem_(emulator::MakeStemProblem(shape_)),
        pixels_(UploadVector(problem_.pixels)),
        normalized_(UploadVector(problem_.normalized)),
        weight_(UploadVector(cuda::PackStem(problem_.weight.data(), channels))),
        bias_(UploadVector(problem_.bias)) {}

  const std::vector<double>& expected() const { return problem_.expected; }
  cuda::Stem To(void* out) const {
    cuda::Stem stem = shape_;
    stem.in = static_cast<const uint8_t*>(pixels_.get());
    stem.normalized = static_cast<const float*>(normalized_.get());
    stem.weight = static_cast<const float*>(weight_.get());
    stem.bias = static_cast<const float*>(bias_.get());
    stem.out = out;
    return stem;
  }

 private:
  static cuda::Stem MakeShape(int channels, int height, int width, int batch) {
    cuda::Stem stem;
    stem.batch = batch;
    stem.height = height;
    stem.width = width;
    stem.out_channels = channels;
    return stem;
  }

  const cuda::Stem shape_;
  const emulator::StemProblem problem_;
  const cuda::DeviceMemory pixels_, normalized_, weight_, bias_;
};

TEST("stem: every precision, 224 x 224 and an odd size") {
  for (const int size : {224, 31}) {
    const FirstLayer layer(48, size, size + 1, 2);
    for (const Precision precision : kPrecisions) {
      if (!Has(precision)) continue;
      const size_t bytes = layer.expected().size() * ElementSize(precision);
      const cuda::DeviceMemory out = cuda::AllocateDevice(bytes);
      cuda::Check(LaunchStem(layer.To(out.get()), precision, nullptr), "launching");
      cuda::Check(cudaStreamSynchronize(nullptr), "running the stem");
      ExpectWithin(
          emulator::Compare(Decode(Download<unsigned char>(out, bytes), precision), layer.expected()),
          emulator::DirectBound(precision));
    }
  }
}

// Compares with float64, and bit by bit with the kernels that it replaces.
void RunFirstTwo(const FirstLayer& first, int channels, Precision precision) {
  const cuda::Stem shape = first.To(nullptr);
  Layer layer = emulator::MakeLayer(shape.out_channels, channels, 2, 1, shape.out_height(), shape.batch);
  layer.width = shape.out_width();
  layer.stem = &shape;
  const cuda::Candidate direct = {cuda::Algorithm::kDirect, 1, "direct"};
  const auto candidates = ListFirstTwo(layer, direct, precision, Architecture(), {});
  if (candidates.size() < 2) return;  // Not supported here, or excluded because it hung or broke the device.

  std::vector<double> middle;
  for (const double value : first.expected()) middle.push_back(RoundTo(precision)(static_cast<float>(value)));
  const Problem problem = emulator::MakeProblem(layer, RoundTo(precision), middle);
  const cuda::DeviceMemory bias = UploadVector(problem.bias),
                           weight = UploadVector(PackConvolution(layer, problem.weight.data(), precision,
                                                                 cuda::Algorithm::kStemFused));
  const size_t bytes = problem.expected.size() * ElementSize(precision);
  const cuda::DeviceMemory between = cuda::AllocateDevice(middle.size() * ElementSize(precision)),
                           out = cuda::AllocateDevice(bytes);
  const cuda::Stem stem = first.To(between.get());
  layer.stem = &stem;
  layer.in = between.get();
  layer.weight = weight.get();
  layer.bias = static_cast<const float*>(bias.get());
  layer.out = out.get();
  std::vector<unsigned char> got[2];
  for (int i = 0; i < 2; ++i) {
    if (i == 1) Say("running", candidates[i].name);
    cuda::Check(cudaMemsetAsync(out.get(), 0xff, bytes, nullptr), "poisoning");
    cuda::Check(LaunchConvolution(layer, precision, candidates[i], nullptr), "launching");
    cuda::Check(cudaStreamSynchronize(nullptr), "running the first two layers");
    got[i] = Download<unsigned char>(out, bytes);
  }
  const Distance distance = emulator::Compare(Decode(got[1], precision), problem.expected);
  const Distance bound = emulator::DirectBound(precision);
  ExpectWithin(distance, bound);
  const bool right = distance.relative_l2 <= bound.relative_l2 && distance.max <= bound.max;
  if (!right) Say("wrong", candidates[1].name);
  if (got[0] != got[1]) emulator::Fail("other bits than the two layers by themselves");
}

TEST("stem: the first two layers in one kernel, 224 x 224 and an odd size") {
  for (const auto& [middle, channels] :
       {std::pair(48, 48), {64, 64}, {64, 96}, {64, 128}, {64, 160}, {64, 192}}) {
    for (const int size : {224, 31}) {
      const FirstLayer first(middle, size, size + 2, size < 100 ? 3 : 1);
      for (const Precision precision : {Precision::kFp16, Precision::kBf16}) {
        if (Has(precision)) RunFirstTwo(first, channels, precision);
      }
    }
  }
}

}  // namespace
}  // namespace repvgg::gpu
