#include "cuda/device.h"

#include <cuda_runtime_api.h>

namespace repvgg {

CudaStatus QueryCuda() {
  CudaStatus status;
  status.runtime_version = CUDART_VERSION;
  int count = 0;
  cudaError_t error = cudaDriverGetVersion(&status.driver_version);
  if (error == cudaSuccess) error = cudaGetDeviceCount(&count);
  for (int i = 0; i < count && error == cudaSuccess; ++i) {
    cudaDeviceProp properties;
    error = cudaGetDeviceProperties(&properties, i);
    if (error != cudaSuccess) break;
    status.devices.push_back({properties.name,
                              std::to_string(properties.major) + "." + std::to_string(properties.minor),
                              properties.totalGlobalMem});
  }
  if (error != cudaSuccess) {
    status.error = std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
    cudaGetLastError();  // Not sticky: the next call starts clean.
  }
  return status;
}

}  // namespace repvgg
