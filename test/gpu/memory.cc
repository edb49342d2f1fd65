// A network's memory as the device reports it, and its behaviour when memory runs out.
#include <cmath>
#include <future>

#include "cuda/cuda_network.h"
#include "engine/error.h"
#include "test/gpu/gpu_test.h"
#include "test/run_and_wait.h"

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
                                               ConvolutionAlgorithm algorithm) {
  BackendOptions options;
  options.precision = precision;
  options.batch_size = batch_size;
  options.algorithm = algorithm;
  cuda::DeviceTraits device;
  device.architecture = Architecture();
  device.multiprocessors = 132;
  auto network = std::make_unique<cuda::CudaNetwork>(shape, options, device, nullptr);
  for (size_t i = 0; i < shape.blocks.size(); ++i) {
    const BlockShape& block = shape.blocks[i];
    const std::vector<float> weight = emulator::RandomNormal(
        size_t{9} * block.in_channels * block.out_channels, std::sqrt(2.0 / 9 / block.in_channels), 20 + i);
    const std::vector<float> bias = emulator::RandomNormal(block.out_channels, 0.1, 60 + i);
    network->SetBlock(i, DeployBlock{weight, bias, {}, {}});
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
  RunAndWait(network, {pixels.data(), count}, {Output::kLogits, 0, out.data()}, [] { return false; });
  return out;
}

size_t FreeMemory() {
  size_t free = 0, total = 0;
  cuda::Check(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

// An upper bound of the packed weights: Winograd has 16 or 36 values where the kernel has 9, and Hopper's
// packing pads depths to multiples of 64.
size_t PackedWeights(const NetworkShape& shape, Precision precision, ConvolutionAlgorithm algorithm) {
  const size_t element = ElementSize(precision);
  size_t bytes = size_t{1001} * shape.embedding_channels() * 4;
  for (const BlockShape& block : shape.blocks) {
    const bool direct = algorithm == ConvolutionAlgorithm::kDirect || block.stride == 2;
    const size_t values = direct ? 9 : algorithm == ConvolutionAlgorithm::kF2 ? 16 : 36;
    bytes += values * cuda::DivideUp(block.in_channels, 64) * 64 * block.out_channels * element;
  }
  return bytes;
}

TEST("memory: weights, two buffers and at most 64 MB") {
  const NetworkShape shape = MakeA2();
  const auto ping_pong = PlanMemory(shape, 0).PingPong(1, shape.blocks.size());
  std::string note;  // How much of the 64 MB is left.
  for (const Precision precision : {Precision::kFp32, Precision::kFp16}) {
    for (const int batch : {128, 256}) {
      for (const auto algorithm :
           {ConvolutionAlgorithm::kDirect, ConvolutionAlgorithm::kF2, ConvolutionAlgorithm::kF4}) {
        // The driver keeps the memory that it allocates for kernels and their stacks, so a first run is not
        // counted.
        RunImages(*MakeNetwork(shape, precision, batch, algorithm), batch);
        cuda::Check(cudaDeviceSynchronize(), "waiting");
        const size_t before = FreeMemory();
        const auto network = MakeNetwork(shape, precision, batch, algorithm);
        const size_t loaded = FreeMemory();
        RunImages(*network, batch);
        const size_t after = FreeMemory();
        const size_t maps = (ping_pong[0] + ping_pong[1]) * batch * ElementSize(precision);
        const size_t allowed = PackedWeights(shape, precision, algorithm) + maps + 64 * kMegabyte;
        const std::string which = std::string(PrecisionName(precision)) + ", batch " + std::to_string(batch) +
                                  ", " + AlgorithmName(algorithm) + ": ";
        const auto left = static_cast<int64_t>(allowed) - static_cast<int64_t>(before - after);
        emulator::Note(note += (note.empty() ? "" : "; ") + which +
                               std::to_string(left / static_cast<int64_t>(kMegabyte)) + " MB left");
        if (before - after <= allowed) continue;
        emulator::Fail(which + std::to_string((before - loaded) / kMegabyte) + " MB of weights and " +
                       std::to_string((loaded - after) / kMegabyte) + " MB of buffers, allowed are " +
                       std::to_string(allowed / kMegabyte));
      }
    }
  }
}

// As worker threads do: while one records a graph, the other allocates, uploads and waits.
TEST("memory: two threads load and run models at the same time") {
  const NetworkShape shape = MakeA2();
  const auto load_and_run = [&] {
    return RunImages(*MakeNetwork(shape, Precision::kFp16, 8, ConvolutionAlgorithm::kDirect), 8);
  };
  const auto reference = load_and_run();
  const auto often = [&] {
    for (int i = 0; i < 3; ++i) {
      if (load_and_run() != reference) throw Error("ERR_TEST", "results differ from those of one thread");
    }
  };
  std::future<void> other = std::async(std::launch::async, often);
  often();
  other.get();
}

TEST("memory: a batch that does not fit is lowered, and the device stays usable") {
  const NetworkShape shape = MakeA2();
  const auto reference =
      RunImages(*MakeNetwork(shape, Precision::kFp16, 8, ConvolutionAlgorithm::kDirect), 8);
  const auto network = MakeNetwork(shape, Precision::kFp16, 1024, ConvolutionAlgorithm::kDirect);
  const size_t free = FreeMemory();
  {
    const cuda::DeviceMemory ballast = cuda::AllocateDevice(free - 600 * kMegabyte);
    if (RunImages(*network, 8) != reference) emulator::Fail("results differ from those of a small batch");
    if (network->Describe().find("\"batchSize\": 1024") != std::string::npos) {
      emulator::Fail("the batch was not lowered");
    }
  }
  if (RunImages(*MakeNetwork(shape, Precision::kFp16, 8, ConvolutionAlgorithm::kDirect), 8) != reference) {
    emulator::Fail("the device is not what it was");
  }
}

}  // namespace
}  // namespace repvgg::gpu
