// Converts JavaScript values to the engine's types. ts/native/addon.ts declares the arguments; TypeScript has
// validated them.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/executor.h"
#include "engine/backend.h"
#include "engine/network.h"
#include "engine/resample.h"

namespace repvgg {

NetworkShape ToNetworkShape(const Napi::Object& value);
BackendOptions ToBackendOptions(const Napi::Object& value);
Precision ToPrecision(const Napi::Value& name);
Geometry ToGeometry(const Napi::Object& value);

// An opaque handle to a sink; null for none. It holds a weak reference: garbage collection may be late, and
// the sink's memory is to be freed with its network. ToKernelSink then returns null.
Napi::Value FromKernelSink(Napi::Env env, const std::shared_ptr<KernelSink>& sink);
std::shared_ptr<KernelSink> ToKernelSink(const Napi::Value& value);

// The spans refer to the caller's arrays, which `job` keeps alive.
DeployBlock ToDeployBlock(const Napi::Object& value, Executor::Job& job);
TrainBlock ToTrainBlock(const Napi::Object& value, Executor::Job& job);
Linear ToLinear(const Napi::Object& value, Executor::Job& job);

int ToInt(const Napi::Value& value);

// A typed array of zeros, made by its JavaScript constructor, such as "Uint8Array": without memory that
// throws, and Node-API ends the process. Throws std::bad_alloc.
Napi::Object NewArray(Napi::Env env, const char* constructor, size_t length);

// `flag` is a Uint8Array of one element, which JavaScript sets to 1 to cancel the job. Also true while the
// environment is torn down.
Cancelled ToCancelled(const Napi::Value& flag, const Executor& executor, Executor::Job& job);

}  // namespace repvgg
