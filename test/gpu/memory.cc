// What a network takes of the device's memory, by the device's own count, and what happens when there is
// none.
#include <cmath>
#include <future>

#include "cuda/cuda_network.h"
#include "engine/error.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

constexpr size_t kMegabyte = 1 << 20;

NetworkShape MakeA2() {
  NetworkShape shape;
  shape.num_classes = 1000;
  shape.height = shape.width = 224;
  shape.mean = {0.485f, 0.456f, 0.406f};
  shape.stddev = {0.229f, 0.224f, 0.225f};
  constexpr int kWidths[] = {64, 96, 192, 384, 1408}, kDepths[] = {1, 2, 4, 14, 1};
  int channels = 3;
  for (int stage = 0; stage < 5; ++stage) {
    for (int i = 0; i < kDepths[stage]; ++i, channels = kWidths[stage]) {
      shape.blocks.push_back({channels, kWidths[stage], i == 0 ? 2 : 1, 1, false, 0});
    }
  }
  return shape;
}

std::unique_ptr<cuda::CudaNetwork> MakeNetwork(const NetworkShape& shape, Precision precision, int batch_size,
                                               const char* algorithm) {
  BackendOptions options;
  options.batch_size = batch_size;
  options.algorithm = algorithm;
  cuda::DeviceTraits device;
  device.architecture = Architecture();
  device.multiprocessors = 132;
  auto network = std::make_unique<cuda::CudaNetwork>(shape, precision, options, device, nullptr);
  for (size_t i = 0; i < shape.blocks.size(); ++i) {
    const BlockShape& block = shape.blocks[i];
    const std::vector<float> weight = emulator::RandomNormal(
        size_t{9} * block.in_channels * block.out_channels, std::sqrt(2.0 / 9 / block.in_channels), 20 + i);
    const std::vector<float> bias = emulator::RandomNormal(block.out_channels, 0.1, 60 + i);
    network->SetBlock(i, DeployBlock{weight, bias, {}});
  }
  const int channels = shape.embedding_channels();
  const std::vector<float> weight = emulator::RandomNormal(size_t{1000} * channels, 0.03, 98);
  const std::vector<float> bias = emulator::RandomNormal(1000, 0.1, 99);
  network->SetLinear({weight, bias});
  return network;
}

std::vector<float> RunImages(cuda::CudaNetwork& network, int count) {
  std::vector<uint8_t> pixels(size_t{224} * 224 * 3 * count);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  std::vector<float> out(size_t{1000} * count, NAN);
  std::promise<void> over;
  network.Run(
      {pixels.data(), count}, Output::kLogits, out.data(), [] { return false; },
      [&](const std::exception_ptr& error) {
        if (error)
          over.set_exception(error);
        else
          over.set_value();
      });
  over.get_future().get();
  return out;
}

size_t FreeMemory() {
  size_t free = 0, total = 0;
  cuda::Check(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

TEST("memory: weights, two buffers and at most 64 MB") {
  const NetworkShape shape = MakeA2();
  size_t weights = size_t{1001} * shape.embedding_channels() * 4;
  for (const BlockShape& block : shape.blocks)
    weights += size_t{9} * block.in_channels * block.out_channels * 4;
  const auto ping_pong = PlanMemory(shape, 0).PingPong(1, shape.blocks.size());
  for (const Precision precision : {Precision::kFp32, Precision::kFp16}) {
    for (const int batch : {128, 256}) {
      for (const char* algorithm : {"direct", "f2", "f4"}) {
        // Kernels are loaded, and stay loaded, when they first run.
        RunImages(*MakeNetwork(shape, precision, 1, algorithm), 1);
        const size_t before = FreeMemory();
        const auto network = MakeNetwork(shape, precision, batch, algorithm);
        RunImages(*network, batch);
        const size_t used = before - FreeMemory();
        const size_t element = cuda::ElementSize(precision);
        // Transformed for F(2x2), 9 weights are 16; for F(4x4), which is for fp32 alone, 36.
        const bool f2 = std::strcmp(algorithm, "f2") == 0;
        const bool f4 = std::strcmp(algorithm, "f4") == 0 && precision == Precision::kFp32;
        const size_t packed = weights * element / 4 * (f4 ? 36 : f2 ? 16 : 9) / 9;
        const size_t bound = packed + (ping_pong[0] + ping_pong[1]) * batch * element + 64 * kMegabyte;
        if (used > bound) {
          emulator::Fail(std::string(cuda::PrecisionName(precision)) + ", batch " + std::to_string(batch) +
                         ", " + algorithm + ": " + std::to_string(used / kMegabyte) + " MB used, " +
                         std::to_string(bound / kMegabyte) + " MB allowed");
        }
      }
    }
  }
}

TEST("memory: a batch that does not fit is lowered, and the device stays usable") {
  const NetworkShape shape = MakeA2();
  const auto reference = RunImages(*MakeNetwork(shape, Precision::kFp16, 8, "direct"), 8);
  const auto network = MakeNetwork(shape, Precision::kFp16, 1024, "direct");
  const size_t free = FreeMemory();
  {
    const cuda::DeviceMemory ballast = cuda::AllocateDevice(free - 600 * kMegabyte);
    if (RunImages(*network, 8) != reference) emulator::Fail("results differ from those of a small batch");
    if (network->Describe().find("\"batchSize\": 1024") != std::string::npos) {
      emulator::Fail("the batch was not lowered");
    }
  }
  if (RunImages(*MakeNetwork(shape, Precision::kFp16, 8, "direct"), 8) != reference) {
    emulator::Fail("the device is not what it was");
  }
}

}  // namespace
}  // namespace repvgg::gpu
