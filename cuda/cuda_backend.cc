#include "cuda/cuda_backend.h"

#include <cstdlib>

#include "cuda/cuda_network.h"
#include "cuda/device.h"
#include "cuda/gemm_sm90a.h"
#include "cuda/layer_timer.h"
#include "engine/error.h"

namespace repvgg {
namespace {

CudaDevice FindDevice(const std::string& name, size_t index, const CudaStatus& status) {
  const auto unavailable = [&](const std::string& reason) {
    return Error("ERR_DEVICE_UNAVAILABLE", "Cannot use \"" + name + "\": " + reason + ".");
  };
  if (status.devices.empty()) throw unavailable("CUDA finds no GPU (" + status.error + ")");
  if (index >= status.devices.size()) {
    throw unavailable("this machine has " + std::to_string(status.devices.size()) + " GPUs");
  }
  const CudaDevice& device = status.devices[index];
  if (!device.problem.empty()) throw unavailable(device.name + " cannot run it: " + device.problem);
  return device;
}

cuda::Precision ToPrecision(const std::string& name, const CudaDevice& device) {
  using cuda::Precision;
  for (const Precision precision :
       {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16, Precision::kFp8}) {
    if (name != cuda::PrecisionName(precision)) continue;
    const bool ampere = precision == Precision::kTf32 || precision == Precision::kBf16;
    if (ampere && device.architecture < 80) {
      throw Error("ERR_PRECISION_UNSUPPORTED", "The " + device.name + " has no " + name +
                                                   " instructions (compute capability 8.0 and up): use "
                                                   "\"fp16\" or \"fp32\".");
    }
    if (precision == Precision::kFp8 && (device.architecture != 90 || !cuda::HasSm90aKernels())) {
      throw Error("ERR_PRECISION_UNSUPPORTED",
                  device.architecture != 90
                      ? "The " + device.name +
                            " has not the fp8 instructions that the kernels use (compute capability "
                            "9.0, as of the H100 and H200): use \"fp16\"."
                      : "This build has no kernels for fp8: compile it for \"90a-real\", or use \"fp16\".");
    }
    return precision;
  }
  throw Error("ERR_PRECISION_UNSUPPORTED", "The CUDA backend has no precision \"" + name + "\".");
}

class CudaBackend : public Backend {
 public:
  CudaBackend(const std::string& name, BackendOptions options) : options_(std::move(options)) {
    const CudaStatus status = QueryCuda();
    const int index = name == "cuda" ? 0 : std::atoi(name.c_str() + 5);
    const CudaDevice device = FindDevice(name, index, status);
    precision_ = ToPrecision(options_.precision, device);
    traits_ = {index,           device.name,          device.architecture, device.multiprocessors,
               device.l2_bytes, status.driver_version};
  }

  std::unique_ptr<Network> CreateNetwork(NetworkShape shape) override {
    const char* const tune = std::getenv("REPVGG_TUNE");
    const bool measure = tune == nullptr || std::string(tune) != "off";
    return std::make_unique<cuda::CudaNetwork>(
        std::move(shape), precision_, options_, traits_,
        measure ? cuda::MakeLayerTimer(traits_, precision_) : cuda::MeasureLayer());
  }

 private:
  const BackendOptions options_;
  cuda::Precision precision_;
  cuda::DeviceTraits traits_;
};

}  // namespace

std::unique_ptr<Backend> CreateCudaBackend(const std::string& name, const BackendOptions& options) {
  return std::make_unique<CudaBackend>(name, options);
}

}  // namespace repvgg
