// The CUDA backend as a whole, on the emulated runtime: what happens when memory or the device fails.
#include <atomic>
#include <thread>

#include "cuda/head.h"
#include "engine/error.h"
#include "test/emulator/networks.h"

namespace repvgg::emulator {
namespace {

TEST("network: an aborted run leaves the network as it was") {
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  const auto network = MakeNetwork(reference, Precision::kFp32, 1);
  int asked = 0;
  ExpectEqual(CodeOf([&] { RunNetwork(*network, pixels, Output::kLogits, [&] { return ++asked == 2; }); }),
              kAborted);
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
}

TEST("network: too little memory lowers the batch, then is an error") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kTrain, SqueezeExcitePosition::kAfterRelu));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 9);
  const size_t before = DeviceMemoryInUse();
  size_t three = 0;
  {
    const auto network = MakeNetwork(reference, Precision::kFp32, 3);
    const size_t weights = DeviceMemoryInUse();
    RunNetwork(*network, pixels);
    three = DeviceMemoryInUse() - weights;
  }
  if (DeviceMemoryInUse() != before) Fail("memory was not freed");

  const auto network = MakeNetwork(reference, Precision::kFp32, 9);
  runtime_settings().memory_limit = DeviceMemoryInUse() + three * 5 / 3 + 1024;
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
  if (network->Describe().find("\"batchSize\": 5,") == std::string::npos) Fail(network->Describe());

  runtime_settings().memory_limit = 0;
  const auto starved = MakeNetwork(reference, Precision::kFp32, 9);
  runtime_settings().memory_limit = DeviceMemoryInUse() + three / 4;
  ExpectEqual(CodeOf([&] { RunNetwork(*starved, pixels); }), cuda::kOutOfMemory);
  runtime_settings().memory_limit = 0;
  CheckLogits(reference, pixels, RunNetwork(*starved, pixels), NetworkBound(Precision::kFp32));
  if (starved->Describe().find("\"batchSize\": 9,") == std::string::npos) Fail(starved->Describe());
}

// Measuring takes what the device has left; the weights of the same layer then need some of it.
TEST("network: memory that measuring holds is there for weights") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  runtime_settings().memory_limit = DeviceMemoryInUse() + (4 << 20);
  int measured = 0;
  const cuda::MeasureLayer measure = [&measured, arena = std::shared_ptr<cuda::DeviceMemory>()](
                                         const cuda::Convolution&, const cuda::Candidate&) mutable {
    ++measured;
    if (arena == nullptr) {
      const size_t left = runtime_settings().memory_limit - DeviceMemoryInUse();
      arena = std::make_shared<cuda::DeviceMemory>(cuda::AllocateDevice(left));
    }
    return std::optional(1.0);
  };
  const auto network =
      MakeNetwork(reference, Precision::kFp32, 3, ConvolutionAlgorithm::kDirect, 80, measure);
  if (measured == 0) Fail("nothing was measured");
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
}

TEST("network: a batch is no larger than kernels can be launched for") {
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const auto network = MakeNetwork(reference, Precision::kFp32, 1 << 20);
  if (network->Describe().find("\"batchSize\": 65535,") == std::string::npos) Fail(network->Describe());
  DeviceArray<float> maps(1), means(1);
  if (cuda::LaunchPool(maps.data(), Precision::kFp32, 1 << 16, 1, 1, means.data(), nullptr) == cudaSuccess) {
    Fail("launched 65536 blocks in the second dimension");
  }
}

TEST("network: a device that fails loses the model, not the process") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  const auto network = MakeNetwork(reference, Precision::kFp32, 1);
  runtime_settings().failing_launch = 3;
  ExpectEqual(CodeOf([&] { RunNetwork(*network, pixels); }), cuda::kDeviceLost);
  runtime_settings().failing_launch = -1;
  ExpectEqual(CodeOf([&] { RunNetwork(*network, pixels); }), cuda::kDeviceLost);
  const auto other = MakeNetwork(reference, Precision::kFp32, 1);
  CheckLogits(reference, pixels, RunNetwork(*other, pixels), NetworkBound(Precision::kFp32));
}

// The very first launch, some that are recorded, and, once all is prepared, those of a later chunk.
TEST("network: a launch that is refused costs a run, not the model") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  const auto network = MakeNetwork(reference, Precision::kFp32, 1);
  for (const int refused : {0, 12, 16}) {
    runtime_settings().refused_launch = refused;
    ExpectEqual(CodeOf([&] { RunNetwork(*network, pixels); }), cuda::kDeviceRefused);
  }
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
  runtime_settings().refused_launch = 1;
  ExpectEqual(CodeOf([&] { RunNetwork(*network, pixels); }), cuda::kDeviceRefused);
  runtime_settings().refused_launch = 3;  // Behind the graph of the second chunk.
  ExpectEqual(CodeOf([&] { RankNetwork(*network, pixels, 2); }), cuda::kDeviceRefused);
  CheckRanking({RunNetwork(*network, pixels), 3, 2}, RankNetwork(*network, pixels, 2));
  runtime_settings().refused_launch = 1;
  ExpectEqual(CodeOf([&] { network->MeasureRate({pixels.data(), 1}, 0.01, Never); }), cuda::kDeviceRefused);
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
}

// As when a model is loaded while another one runs.
TEST("network: other threads may allocate and wait while one records a graph, but not that one") {
  const cuda::Stream stream = cuda::MakeStream();
  const auto record = [&] { cuda::Check(cudaMemsetAsync(nullptr, 0, 0, stream.get()), "recording"); };
  const auto allocate = [] { cuda::AllocateDevice(1); };
  std::string other;
  cuda::CaptureGraph(stream.get(), [&] {
    record();
    std::thread([&] {
      other = CodeOf([&] {
        allocate();
        cuda::Wait(cuda::MakeEvent(cuda::EventUse::kThread), "waiting");
      });
    }).join();
    record();
  });
  ExpectEqual(other, "no error");
  ExpectEqual(CodeOf([&] { cuda::CaptureGraph(stream.get(), allocate); }), cuda::kDeviceRefused);
  cuda::CaptureGraph(stream.get(), record);
}

TEST("network: a graph that another library of the process records is neither in the way nor spoilt") {
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  std::unique_ptr<cuda::CudaNetwork> network;
  const cuda::Stream stream = cuda::MakeStream();
  cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal);
  std::string code;
  std::thread([&] {
    code = CodeOf([&] {
      network = MakeNetwork(reference, Precision::kFp32, 1);
      CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
      network.reset();
    });
  }).join();
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream.get(), &graph) != cudaSuccess) Fail("the other library's graph is spoilt");
  cudaGraphDestroy(graph);
  ExpectEqual(code, "no error");
}

// On JavaScript's thread, whose current device is the first, when nobody holds the model any more.
TEST("network: one that never ran is destroyed without a call to another device") {
  const RestoreRuntime restore;
  runtime_settings().devices = 2;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  cuda::DeviceTraits device = EmulatedDevice();
  device.index = 1;
  auto network = std::make_unique<cuda::CudaNetwork>(reference.shape(), BackendOptions{}, device, nullptr);
  std::thread([&] { reference.Load(*network); }).join();
  const int before = CallsOn(0);
  std::thread([&] { network.reset(); }).join();
  if (CallsOn(0) != before) Fail(std::to_string(CallsOn(0) - before) + " calls");
}

TEST("network: a device that another process has for itself is unavailable, not lost") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  runtime_settings().taken = true;
  ExpectEqual(CodeOf([&] { MakeNetwork(reference, Precision::kFp32, 1); }), "ERR_DEVICE_UNAVAILABLE");
}

TEST("network: runs that a failing device cuts short end with an error, all of them") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 2);
  auto network = MakeNetwork(reference, Precision::kFp32, 1);
  std::vector<float> out(2 * reference.shape().num_classes);
  std::atomic<int> lost = 0;
  runtime_settings().failing_launch = 5;
  for (int run = 0; run < 4; ++run) {
    network->Run({pixels.data(), 2}, {Output::kLogits, 0, out.data()}, Never,
                 [&](const std::exception_ptr& error) {
                   if (error && CodeOf([&] { std::rethrow_exception(error); }) == cuda::kDeviceLost) ++lost;
                 });
  }
  network.reset();
  if (lost != 4) Fail(std::to_string(lost) + " of 4 runs ended with the loss of the device");
}

}  // namespace
}  // namespace repvgg::emulator
