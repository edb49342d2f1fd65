#include "cuda/cuda_backend.h"

#include <cstdlib>

#include "cuda/cuda_network.h"
#include "cuda/device.h"
#include "cuda/gemm_sm90a.h"
#include "cuda/layer_timer.h"
#include "engine/error.h"

namespace repvgg {
namespace {

// Throws if the device or this build does not support the precision.
void CheckPrecision(Precision precision, const CudaDevice& device) {
  const auto unsupported = [](const std::string& message) {
    return Error("ERR_PRECISION_UNSUPPORTED", message);
  };
  if ((precision == Precision::kTf32 || precision == Precision::kBf16) && device.architecture < 80) {
    throw unsupported("The " + device.name + " has no " + PrecisionName(precision) +
                      " instructions (compute capability 8.0 and up): use \"fp16\" or \"fp32\".");
  }
  if (precision == Precision::kFp8 && device.architecture != 90) {
    throw unsupported("The " + device.name +
                      " has not the fp8 instructions that the kernels use (compute capability 9.0, as of the "
                      "H100 and H200): use \"fp16\".");
  }
  if (precision == Precision::kFp8 && !cuda::HasSm90aKernels()) {
    throw unsupported("This build has no kernels for fp8: compile it for \"90a-real\", or use \"fp16\".");
  }
}

class CudaBackend : public Backend {
 public:
  CudaBackend(const std::string& name, BackendOptions options) : options_(std::move(options)) {
    const CudaStatus status = QueryCuda();
    const CudaDevice device = FindCudaDevice(name, status);
    CheckPrecision(options_.precision, device);
    traits_ = {device.index,           device.name,     device.architecture,
               device.multiprocessors, device.l2_bytes, status.driver_version};
  }

  std::unique_ptr<Network> CreateNetwork(NetworkShape shape) override {
    const char* const tune = std::getenv("REPVGG_TUNE");
    const bool measure = tune == nullptr || std::string(tune) != "off";
    return std::make_unique<cuda::CudaNetwork>(
        std::move(shape), options_, traits_,
        measure ? cuda::MakeLayerTimer(traits_, options_.precision) : cuda::MeasureLayer());
  }

 private:
  const BackendOptions options_;
  cuda::DeviceTraits traits_;
};

}  // namespace

std::unique_ptr<Backend> CreateCudaBackend(const std::string& name, const BackendOptions& options) {
  return std::make_unique<CudaBackend>(name, options);
}

}  // namespace repvgg
