#include "binding/device_info.h"

#include <string>

#include "cpu/bf16_kernels.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"
#include "engine/jpeg.h"

#ifdef REPVGG_CUDA
#include "cuda/device.h"
#endif

namespace repvgg {

Napi::Value CpuInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto sets = Napi::Array::New(env);
  for (const std::string& name : cpu::SupportedInstructionSets()) {
    sets.Set(sets.Length(), Napi::String::New(env, name));
  }
  auto result = Napi::Object::New(env);
  result.Set("instructionSets", sets);
  const cpu::Bf16Kernels* bf16 = cpu::SelectBf16Kernels("");
  result.Set("bf16", bf16 == nullptr ? env.Null() : Napi::Value(Napi::String::New(env, bf16->name)));
  result.Set("threads", UsableCores());
  const char* jpeg = JpegLibrary();
  result.Set("jpeg", jpeg == nullptr ? env.Null() : Napi::Value(Napi::String::New(env, jpeg)));
  return result;
}

Napi::Value CudaInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto result = Napi::Object::New(env);
  auto devices = Napi::Array::New(env);
  result.Set("devices", devices);
#ifdef REPVGG_CUDA
  const auto or_null = [env](const std::string& text) {
    return text.empty() ? env.Null() : Napi::Value(Napi::String::New(env, text));
  };
  const CudaStatus status = QueryCuda();
  for (const CudaDevice& device : status.devices) {
    auto entry = Napi::Object::New(env);
    entry.Set("name", device.name);
    entry.Set("computeCapability", device.compute_capability);
    entry.Set("memoryBytes", static_cast<double>(device.memory_bytes));
    entry.Set("problem", or_null(device.problem));
    devices.Set(devices.Length(), entry);
  }
  result.Set("built", true);
  result.Set("runtimeVersion", status.runtime_version);
  result.Set("driverVersion", status.driver_version);
  result.Set("error", or_null(status.error));
#else
  result.Set("built", false);
  result.Set("runtimeVersion", 0);
  result.Set("driverVersion", 0);
  result.Set("error", env.Null());
#endif
  return result;
}

}  // namespace repvgg
