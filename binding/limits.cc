#include "binding/limits.h"

#include <optional>

#include "binding/arguments.h"
#include "cpu/limits.h"
#include "engine/error.h"

#ifdef REPVGG_CUDA
#include "cuda/counters.h"
#include "cuda/device.h"
#include "cuda/limits.h"
#include "engine/precision.h"
#endif

namespace repvgg {
namespace {

DeviceLimits MeasureCuda([[maybe_unused]] const std::string& device, [[maybe_unused]] Precision precision,
                         [[maybe_unused]] double seconds, [[maybe_unused]] bool memory) {
#ifdef REPVGG_CUDA
  return cuda::MeasureLimits(FindCudaDevice(device, QueryCuda()).index, precision, seconds, memory);
#else
  throw Error("ERR_DEVICE_UNAVAILABLE", "This build has no backend called \"" + device + "\".");
#endif
}

Napi::Value OrNull(Napi::Env env, const std::optional<double>& value) {
  return value ? Napi::Value(Napi::Number::New(env, *value)) : env.Null();
}

}  // namespace

Napi::Value StartMeasuringLimits(const Napi::CallbackInfo& info, DeviceExecutors& executors) {
  auto job = std::make_unique<Executor::Job>(info.Env());
  const auto options = info[0].As<Napi::Object>();
  const std::string device = options.Get("device").As<Napi::String>().Utf8Value();
  const auto limits = std::make_shared<DeviceLimits>();
  job->SetWork([=, precision = ToPrecision(options.Get("precision")), threads = ToInt(options.Get("threads")),
                seconds = options.Get("seconds").As<Napi::Number>().DoubleValue(),
                copy = options.Get("copy").ToBoolean().Value()] {
    *limits = device == "cpu" ? cpu::MeasureLimits(threads, seconds, copy)
                              : MeasureCuda(device, precision, seconds, copy);
  });
  job->result = [limits](Napi::Env env, Executor::Job&) -> Napi::Value {
    auto result = Napi::Object::New(env);
    result.Set("instructionSet", limits->instruction_set);
    result.Set("fmaGflops", limits->fma_gflops);
    result.Set("matrixGflops", OrNull(env, limits->matrix_gflops));
    result.Set("fmaPerCpuSecond", OrNull(env, limits->fma_per_cpu_second));
    result.Set("matrixPerCpuSecond", OrNull(env, limits->matrix_per_cpu_second));
    result.Set("copyGBps", limits->copy_gbps);
    result.Set("l2GBps", OrNull(env, limits->l2_gbps));
    return result;
  };
  return executors.For(info.Env(), device).Post(info.Env(), std::move(job));
}

Napi::Value ReadCudaCounters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::optional<double> memory, millijoules;
#ifdef REPVGG_CUDA
  const cuda::Counters counters = cuda::ReadCounters(ToInt(info[0]));
  if (counters.memory_used) memory = static_cast<double>(*counters.memory_used);
  if (counters.millijoules) millijoules = static_cast<double>(*counters.millijoules);
#endif
  auto result = Napi::Object::New(env);
  result.Set("memoryBytes", OrNull(env, memory));
  result.Set("millijoules", OrNull(env, millijoules));
  return result;
}

}  // namespace repvgg
