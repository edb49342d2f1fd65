#include "binding/limits.h"

#include <optional>

#include "binding/arguments.h"
#include "engine/registry.h"

namespace repvgg {
namespace {

Napi::Value OrNull(Napi::Env env, const std::optional<double>& value) {
  return value ? Napi::Value(Napi::Number::New(env, *value)) : env.Null();
}

}  // namespace

Napi::Value StartMeasuringLimits(const Napi::CallbackInfo& info, DeviceExecutors& executors) {
  auto job = std::make_unique<Executor::Job>(info.Env());
  const auto options = info[0].As<Napi::Object>();
  const std::string device = options.Get("device").As<Napi::String>().Utf8Value();
  const LimitsOptions limits_options = {
      .precision = ToPrecision(options.Get("precision")),
      .threads = ToInt(options.Get("threads")),
      .seconds = options.Get("seconds").As<Napi::Number>().DoubleValue(),
      .copy = options.Get("copy").ToBoolean().Value(),
  };
  const auto limits = std::make_shared<DeviceLimits>();
  job->SetWork([=] { *limits = MeasureLimits(device, limits_options); });
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

Napi::Value CudaCountersOf(const Napi::CallbackInfo& info) {
  const auto [memory, millijoules] = ReadCudaCounters(ToInt(info[0]));
  auto result = Napi::Object::New(info.Env());
  result.Set("memoryBytes", OrNull(info.Env(), memory));
  result.Set("millijoules", OrNull(info.Env(), millijoules));
  return result;
}

}  // namespace repvgg
