// From JavaScript values to the engine's types. ts/native.ts declares what arrives, and TypeScript has
// checked it.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/executor.h"
#include "engine/network.h"
#include "engine/resample.h"

namespace repvgg {

NetworkShape ToNetworkShape(const Napi::Object& value);
Geometry ToGeometry(const Napi::Object& value);

// What JavaScript has of a sink: null for none, and nothing that it can look into. The sink itself is its
// network's, since garbage is collected late, and goes with it: it is null from then on.
Napi::Value FromKernelSink(Napi::Env env, const std::shared_ptr<KernelSink>& sink);
std::shared_ptr<KernelSink> ToKernelSink(const Napi::Value& value);

// The spans point into the caller's arrays, which `job` keeps alive.
DeployBlock ToDeployBlock(const Napi::Object& value, Executor::Job& job);
TrainBlock ToTrainBlock(const Napi::Object& value, Executor::Job& job);
Linear ToLinear(const Napi::Object& value, Executor::Job& job);

int ToInt(const Napi::Value& value);

// `flag` is a Uint8Array of one element that JavaScript sets to 1 to end a job early.
Cancelled ToCancelled(const Napi::Value& flag, const Executor& executor, Executor::Job& job);

}  // namespace repvgg
