// The capabilities of this build and this machine.
#pragma once

#include <napi.h>

namespace repvgg {

// cpuInfo(), as ts/native.ts declares it
Napi::Value CpuInfo(const Napi::CallbackInfo& info);

// cudaInfo(): NativeCudaInfo of ts/native.ts
Napi::Value CudaInfo(const Napi::CallbackInfo& info);

}  // namespace repvgg
