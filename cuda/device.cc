#include "cuda/device.h"

#include <cstdlib>

#include "cuda/architectures.h"
#include "cuda/runtime.h"
#include "engine/error.h"

namespace repvgg {
namespace {

// The minimum for the kernels: tensor cores.
constexpr int kOldestArchitecture = 70;

std::string Problem(const CudaDevice& device) {
  if (device.architecture < kOldestArchitecture) {
    return "its compute capability is " + device.compute_capability +
           ", and 7.0 is the least that is supported";
  }
  if (!HasKernels(REPVGG_CUDA_ARCHITECTURES, device.architecture)) {
    return "this build has no kernels for its compute capability " + device.compute_capability +
           " (only for " REPVGG_CUDA_ARCHITECTURES ")";
  }
  return "";
}

}  // namespace

CudaStatus QueryCuda() {
  CudaStatus status;
  status.built = true;
  status.runtime_version = CUDART_VERSION;
  int count = 0;
  cudaError_t error = cudaDriverGetVersion(&status.driver_version);
  if (error == cudaSuccess) error = cudaGetDeviceCount(&count);
  for (int i = 0; i < count && error == cudaSuccess; ++i) {
    cudaDeviceProp properties;
    error = cudaGetDeviceProperties(&properties, i);
    if (error != cudaSuccess) break;
    CudaDevice device;
    device.index = i;
    device.name = properties.name;
    device.compute_capability = std::to_string(properties.major) + "." + std::to_string(properties.minor);
    device.architecture = properties.major * 10 + properties.minor;
    device.memory_bytes = properties.totalGlobalMem;
    device.multiprocessors = properties.multiProcessorCount;
    device.l2_bytes = properties.l2CacheSize;
    device.problem = Problem(device);
    status.devices.push_back(device);
  }
  if (error != cudaSuccess) {
    status.error = std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
    cudaGetLastError();  // Clears it.
  }
  return status;
}

CudaDevice FindCudaDevice(const std::string& name, const CudaStatus& status) {
  const auto unavailable = [&](const std::string& reason) {
    return Error("ERR_DEVICE_UNAVAILABLE", "Cannot use \"" + name + "\": " + reason + ".");
  };
  if (status.devices.empty()) throw unavailable("CUDA finds no GPU (" + status.error + ")");
  const size_t index =
      name == "cuda" ? 0 : std::strtoul(name.c_str() + std::string("cuda:").size(), nullptr, 10);
  if (index >= status.devices.size()) {
    throw unavailable("this machine has " + std::to_string(status.devices.size()) + " GPUs");
  }
  const CudaDevice& device = status.devices[index];
  if (!device.problem.empty()) throw unavailable(device.name + " cannot run it: " + device.problem);
  return device;
}

}  // namespace repvgg
