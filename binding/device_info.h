// The capabilities of this build and this machine.
#pragma once

#include <napi.h>

namespace repvgg {

// cpuInfo(), as ts/native/addon.ts declares it
Napi::Value CpuInfo(const Napi::CallbackInfo& info);

// cudaInfo(): NativeCudaInfo of ts/native/addon.ts
Napi::Value CudaInfo(const Napi::CallbackInfo& info);

}  // namespace repvgg
