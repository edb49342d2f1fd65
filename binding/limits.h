// Peak rates and usage counters of devices, for `repvgg bench`.
#pragma once

#include <napi.h>

#include "binding/executor.h"

namespace repvgg {

// measureLimits({device, precision, threads, seconds, copy}): Promise<NativeLimits>
Napi::Value StartMeasuringLimits(const Napi::CallbackInfo& info, DeviceExecutors& executors);

// cudaCounters(index): {memoryBytes: number | null, millijoules: number | null}
Napi::Value CudaCountersOf(const Napi::CallbackInfo& info);

}  // namespace repvgg
