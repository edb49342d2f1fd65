// What this build and machine have.
#pragma once

#include <napi.h>

namespace repvgg {

// cpuInfo(): what ts/native.ts declares
Napi::Value CpuInfo(const Napi::CallbackInfo& info);

// cudaInfo(): NativeCudaInfo of ts/native.ts
Napi::Value CudaInfo(const Napi::CallbackInfo& info);

}  // namespace repvgg
