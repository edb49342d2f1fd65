#include "binding/limits.h"

#include <optional>

#include "binding/arguments.h"
#include "cpu/limits.h"
#include "engine/error.h"

#ifdef REPVGG_CUDA
#include "cuda/counters.h"
#include "cuda/device.h"
#include "cuda/limits.h"
#include "cuda/precision.h"
#endif

namespace repvgg {
namespace {

struct DeviceLimits {
  std::string instruction_set;
  double fma_gflops = 0;
  std::optional<double> matrix_gflops;
  std::optional<double> fma_per_cpu_second, matrix_per_cpu_second;
  double copy_gbps = 0;
  std::optional<double> l2_gbps;
};

DeviceLimits MeasureCpu(int threads, double seconds, bool copy) {
  const cpu::Limits limits = cpu::MeasureLimits(threads, seconds, copy);
  DeviceLimits result;
  result.instruction_set = limits.instruction_set;
  result.fma_gflops = limits.fma.sum;
  result.fma_per_cpu_second = limits.fma.per_cpu_second;
  if (limits.matrix) {
    result.matrix_gflops = limits.matrix->sum;
    result.matrix_per_cpu_second = limits.matrix->per_cpu_second;
  }
  result.copy_gbps = limits.copy_gbps;
  return result;
}

DeviceLimits MeasureCuda([[maybe_unused]] const std::string& device,
                         [[maybe_unused]] const std::string& precision, [[maybe_unused]] double seconds,
                         [[maybe_unused]] bool copy) {
#ifdef REPVGG_CUDA
  const CudaDevice gpu = FindCudaDevice(device, QueryCuda());
  const auto own = cuda::ToPrecision(precision).value_or(cuda::Precision::kFp32);
  const cuda::Limits limits = cuda::MeasureLimits(gpu.index, own, seconds, copy);
  DeviceLimits result;
  result.instruction_set = "sm_" + std::to_string(gpu.architecture) + ", " + limits.matrix_instruction;
  result.fma_gflops = limits.fma_gflops;
  if (limits.matrix_gflops > 0) result.matrix_gflops = limits.matrix_gflops;
  result.copy_gbps = limits.copy_gbps;
  if (copy) result.l2_gbps = limits.l2_gbps;
  return result;
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
  const auto text = [&](const char* name) { return options.Get(name).As<Napi::String>().Utf8Value(); };
  const std::string device = text("device");
  const auto limits = std::make_shared<DeviceLimits>();
  job->SetWork([=, precision = text("precision"), threads = ToInt(options.Get("threads")),
                seconds = options.Get("seconds").As<Napi::Number>().DoubleValue(),
                copy = options.Get("copy").ToBoolean().Value()] {
    *limits =
        device == "cpu" ? MeasureCpu(threads, seconds, copy) : MeasureCuda(device, precision, seconds, copy);
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
