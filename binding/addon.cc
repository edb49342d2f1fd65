#include <napi.h>

#include <memory>

#include "binding/arguments.h"
#include "binding/executor.h"
#include "binding/file_lock.h"
#include "binding/image_jobs.h"
#include "binding/instructions.h"
#include "binding/limits.h"
#include "binding/loading.h"
#include "binding/network_object.h"
#include "cpu/bf16_kernels.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"
#include "engine/crc32.h"
#include "engine/jpeg.h"

#ifdef REPVGG_CUDA
#include "cuda/device.h"
#endif

namespace repvgg {
namespace {

void Release(const Napi::CallbackInfo& info) { info[0].As<Napi::TypedArray>().ArrayBuffer().Detach(); }

// One instance per environment (the main thread, and each worker thread that loads the addon).
class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports)
      : images_(std::make_unique<Executor>(env, "repvgg.images", UsableCores())),
        files_(std::make_unique<Executor>(env, "repvgg.files", UsableCores())) {
    DefineAddon(
        exports,
        {InstanceMethod<&Addon::CpuInfo>("cpuInfo"), InstanceMethod<&Addon::CudaInfo>("cudaInfo"),
         InstanceMethod<&Addon::ResizeCrop>("resizeCrop"), InstanceMethod<&Addon::PrepareJpeg>("prepareJpeg"),
         InstanceMethod<&Addon::DecodeJpeg>("decodeJpeg"),
         InstanceMethod<&Addon::MeasureLimits>("measureLimits"),
         InstanceMethod<&Addon::FuseFile>("fuseFile")});
    exports.Set("cudaCounters", Napi::Function::New<ReadCudaCounters>(env));
    exports.Set("countInstructions", Napi::Function::New<CountInstructions>(env));
    exports.Set("lockFile", Napi::Function::New<LockFile>(env));
    exports.Set("fuseRows", Napi::Function::New<FuseRowsOf>(env));
    exports.Set("joinCrc32", Napi::Function::New<JoinCrc32Of>(env));
    exports.Set("preferHugePages", Napi::Function::New<PreferHugePagesOf>(env));
    exports.Set("release", Napi::Function::New<Release>(env));
    exports.Set("crc32", HasCrc32() ? Napi::Value(Napi::Function::New<Crc32Of>(env)) : env.Null());
    exports.Set("Network", NetworkObject::Define(env, &compute_));
    env.AddCleanupHook([this] {
      compute_.Stop();
      images_->Stop();
      files_->Stop();
    });
  }

 private:
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
    const CudaStatus status = QueryCuda();
    for (const CudaDevice& device : status.devices) {
      auto entry = Napi::Object::New(env);
      entry.Set("name", device.name);
      entry.Set("computeCapability", device.compute_capability);
      entry.Set("memoryBytes", static_cast<double>(device.memory_bytes));
      entry.Set("problem",
                device.problem.empty() ? env.Null() : Napi::Value(Napi::String::New(env, device.problem)));
      devices.Set(devices.Length(), entry);
    }
    result.Set("built", true);
    result.Set("runtimeVersion", status.runtime_version);
    result.Set("driverVersion", status.driver_version);
    result.Set("error",
               status.error.empty() ? env.Null() : Napi::Value(Napi::String::New(env, status.error)));
#else
    result.Set("built", false);
    result.Set("runtimeVersion", 0);
    result.Set("driverVersion", 0);
    result.Set("error", env.Null());
#endif
    return result;
  }

  Napi::Value ResizeCrop(const Napi::CallbackInfo& info) { return ResizeCropJob(info, *images_); }
  Napi::Value PrepareJpeg(const Napi::CallbackInfo& info) { return PrepareJpegJob(info, *images_); }
  Napi::Value DecodeJpeg(const Napi::CallbackInfo& info) { return DecodeJpegJob(info, *images_); }

  Napi::Value MeasureLimits(const Napi::CallbackInfo& info) { return StartMeasuringLimits(info, compute_); }

  Napi::Value FuseFile(const Napi::CallbackInfo& info) { return FuseFileJob(info, *files_); }

  DeviceExecutors compute_;
  std::unique_ptr<Executor> images_;
  std::unique_ptr<Executor> files_;
};

NODE_API_ADDON(Addon)

}  // namespace
}  // namespace repvgg
