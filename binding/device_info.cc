#include "binding/device_info.h"

#include <string>

#include "engine/jpeg.h"
#include "engine/registry.h"
#include "engine/usable_cores.h"

namespace repvgg {
namespace {

Napi::Value OrNull(Napi::Env env, const std::string& text) {
  return text.empty() ? env.Null() : Napi::Value(Napi::String::New(env, text));
}

}  // namespace

Napi::Value CpuInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CpuDescription cpu = DescribeCpu();
  auto sets = Napi::Array::New(env);
  for (const std::string& name : cpu.instruction_sets) sets.Set(sets.Length(), Napi::String::New(env, name));
  auto result = Napi::Object::New(env);
  result.Set("instructionSets", sets);
  result.Set("bf16", OrNull(env, cpu.bf16));
  result.Set("usableCores", UsableCores());
  const char* jpeg = JpegLibrary();
  result.Set("jpeg", OrNull(env, jpeg == nullptr ? "" : jpeg));
  return result;
}

Napi::Value CudaInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CudaStatus status = DescribeCuda();
  auto devices = Napi::Array::New(env);
  for (const CudaDevice& device : status.devices) {
    auto entry = Napi::Object::New(env);
    entry.Set("name", device.name);
    entry.Set("computeCapability", device.compute_capability);
    entry.Set("memoryBytes", static_cast<double>(device.memory_bytes));
    entry.Set("problem", OrNull(env, device.problem));
    devices.Set(devices.Length(), entry);
  }
  auto result = Napi::Object::New(env);
  result.Set("devices", devices);
  result.Set("built", status.built);
  result.Set("runtimeVersion", status.runtime_version);
  result.Set("driverVersion", status.driver_version);
  result.Set("error", OrNull(env, status.error));
  return result;
}

}  // namespace repvgg
