// The CUDA devices of this machine.
#pragma once

#include <string>

#include "engine/devices.h"

namespace repvgg {

// Works without a driver: the status then tells why there are no devices.
CudaStatus QueryCuda();

// "cuda" or "cuda:N". Throws Error{ERR_DEVICE_UNAVAILABLE} with the reason.
CudaDevice FindCudaDevice(const std::string& name, const CudaStatus& status);

}  // namespace repvgg
