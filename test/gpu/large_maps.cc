// Maps of nearly 2^31 elements, the maximum: each of twenty thousand images must give what it gives in a
// batch of two. Needs tens of gigabytes; skipped if the GPU has less.
#include <algorithm>
#include <climits>
#include <map>

#include "test/emulator/stem_problem.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

constexpr int kFew = 2;

bool HasRoom(size_t bytes) {
  size_t free = 0, total = 0;
  cuda::Check(cudaMemGetInfo(&free, &total), "asking for free memory");
  return bytes + (size_t{1} << 30) < free;
}

// Many copies of a few images.
cuda::DeviceMemory Repeat(const std::vector<unsigned char>& images, size_t bytes) {
  cuda::DeviceMemory memory = cuda::AllocateDevice(bytes);
  auto* const to = static_cast<unsigned char*>(memory.get());
  cuda::Check(cudaMemcpy(to, images.data(), images.size(), cudaMemcpyHostToDevice), "uploading images");
  for (size_t done = images.size(); done < bytes; done *= 2) {
    cuda::Check(cudaMemcpy(to + done, to, std::min(done, bytes - done), cudaMemcpyDeviceToDevice),
                "copying images");
  }
  return memory;
}

// The index of the first image, of some spread over the batch and the last, that differs from the small
// batch's; -1 if none.
int FirstWrong(const cuda::DeviceMemory& out, const std::vector<unsigned char>& few, int count) {
  const size_t image = few.size() / kFew;
  std::vector<unsigned char> got(image);
  constexpr int kSome = 200;
  for (int i = 0; i <= kSome; ++i) {
    const int index = static_cast<int>(int64_t{count - 1} * i / kSome);
    cuda::Check(cudaMemcpy(got.data(), static_cast<unsigned char*>(out.get()) + image * index, image,
                           cudaMemcpyDeviceToHost),
                "downloading an image");
    if (!std::equal(got.begin(), got.end(), few.begin() + image * (index % kFew))) return index;
  }
  return -1;
}

// `run(in, out, count)` launches `count` images.
template <typename Run>
void RunFewAndMany(const std::string& name, const cuda::DeviceMemory& in, const cuda::DeviceMemory& out,
                   size_t image, int count, Run run) {
  Say("running", name);
  cuda::Check(cudaMemset(out.get(), 0xff, image * kFew), "poisoning");
  cuda::Check(run(in.get(), out.get(), kFew), "launching");
  cuda::Check(cudaDeviceSynchronize(), "running a few images");
  const auto few = Download<unsigned char>(out, image * kFew);
  cuda::Check(cudaMemset(out.get(), 0xff, image * count), "poisoning");
  cuda::Check(run(in.get(), out.get(), count), "launching");
  cuda::Check(cudaDeviceSynchronize(), "running many images");
  const int wrong = FirstWrong(out, few, count);
  if (wrong < 0) return;
  emulator::Fail(name + ": image " + std::to_string(wrong) + " of " + std::to_string(count));
  Say("wrong", name);
}

void RunLayers(Precision precision) {
  emulator::Layer layer = emulator::MakeLayer(128, 128, 1, 1, 28, kFew);
  const size_t size = ElementSize(precision), values = size_t{128} * 28 * 28, image = size * values;
  const int count = static_cast<int>((INT_MAX - 1) / values);
  if (!HasRoom(2 * image * count)) return;
  const std::vector<float> weight = emulator::RandomNormal(size_t{128} * 128 * 9, 0.04, 2),
                           bias = emulator::RandomNormal(128, 0.1, 3);
  const cuda::DeviceMemory device_bias = UploadVector(bias),
                           scale = UploadVector(std::vector<float>(128, 1.0f)),
                           in = Repeat(Encode(emulator::RandomNormal(kFew * values, 1, 1), precision),
                                       image * count),
                           out = cuda::AllocateDevice(image * count);
  layer.bias = static_cast<const float*>(device_bias.get());
  layer.scale = static_cast<const float*>(scale.get());
  std::map<cuda::Algorithm, cuda::DeviceMemory> weights;
  layer.batch = count;
  for (const cuda::Candidate& candidate : ListCandidates(layer, precision, Architecture(), {})) {
    cuda::DeviceMemory& packed = weights[candidate.algorithm];
    if (packed == nullptr) {
      packed = UploadVector(PackConvolution(layer, weight.data(), precision, candidate.algorithm));
    }
    const cuda::DeviceMemory workspace = cuda::AllocateDevice(WorkspaceBytes(layer, candidate));
    RunFewAndMany(candidate.name, in, out, image, count, [&](const void* from, void* to, int images) {
      cuda::Convolution run = layer;
      run.batch = images;
      run.in = from;
      run.weight = packed.get();
      run.workspace = workspace.get();
      run.out = to;
      return LaunchConvolution(run, precision, candidate, nullptr);
    });
  }
}

void RunStem(Precision precision) {
  cuda::Stem stem;
  stem.batch = kFew;
  stem.height = stem.width = 224;
  stem.out_channels = 64;
  const size_t values = size_t{64} * 112 * 112, image = ElementSize(precision) * values;
  const int count = static_cast<int>((INT_MAX - 1) / values);
  const emulator::StemProblem problem = emulator::MakeStemProblem(stem);
  if (!HasRoom(image * count + problem.pixels.size() / kFew * count)) return;
  const cuda::DeviceMemory in = Repeat(problem.pixels, problem.pixels.size() / kFew * count),
                           out = cuda::AllocateDevice(image * count),
                           normalized = UploadVector(problem.normalized),
                           weight = UploadVector(cuda::PackStem(problem.weight.data(), 64)),
                           bias = UploadVector(problem.bias);
  stem.normalized = static_cast<const float*>(normalized.get());
  stem.weight = static_cast<const float*>(weight.get());
  stem.bias = static_cast<const float*>(bias.get());
  RunFewAndMany("first layer", in, out, image, count, [&](const void* from, void* to, int images) {
    cuda::Stem run = stem;
    run.batch = images;
    run.in = static_cast<const uint8_t*>(from);
    run.out = to;
    return LaunchStem(run, precision, nullptr);
  });
}

const bool added = [] {
  for (const Precision precision :
       {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16, Precision::kFp8}) {
    emulator::cases().push_back(
        {std::string("convolutions: ") + PrecisionName(precision) + ", nearly 2^31 values", [=] {
           if (!Has(precision)) return;
           RunStem(precision);
           RunLayers(precision);
         }});
  }
  return true;
}();

}  // namespace
}  // namespace repvgg::gpu
