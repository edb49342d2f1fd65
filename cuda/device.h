// The CUDA devices of this machine. Works without a driver: the status then tells why there are none.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace repvgg {

struct CudaDevice {
  int index = 0;
  std::string name;
  std::string compute_capability;  // "9.0"
  int architecture = 0;            // 90
  size_t memory_bytes = 0;
  int multiprocessors = 0;
  size_t l2_bytes = 0;
  std::string problem;  // Why this build's kernels cannot run on it; otherwise empty.
};

struct CudaStatus {
  std::vector<CudaDevice> devices;
  int runtime_version = 0;  // 12040 is 12.4.
  int driver_version = 0;   // The latest CUDA version that the driver supports; 0 without a driver.
  std::string error;        // The runtime's name and text of an error; otherwise empty.
};

CudaStatus QueryCuda();

// "cuda" or "cuda:N". Throws Error{ERR_DEVICE_UNAVAILABLE} with the reason.
CudaDevice FindCudaDevice(const std::string& name, const CudaStatus& status);

}  // namespace repvgg
