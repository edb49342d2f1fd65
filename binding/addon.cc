// The addon's exports; ts/native/addon.ts declares their types.
#include <napi.h>

#include "binding/device_info.h"
#include "binding/executor.h"
#include "binding/file_lock.h"
#include "binding/image_jobs.h"
#include "binding/instructions.h"
#include "binding/limits.h"
#include "binding/loading.h"
#include "binding/network_object.h"
#include "engine/crc32.h"
#include "engine/usable_cores.h"

namespace repvgg {
namespace {

void Release(const Napi::CallbackInfo& info) { info[0].As<Napi::TypedArray>().ArrayBuffer().Detach(); }

// Instance data: one per environment (the main thread, and each worker thread that loads the addon), which
// deletes it when it is torn down.
struct Executors {
  explicit Executors(Napi::Env env)
      : images(env, "repvgg.images", UsableCores()), files(env, "repvgg.files", UsableCores()) {}

  DeviceExecutors compute;
  Executor images;
  Executor files;
};

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* const executors = new Executors(env);
  env.SetInstanceData(executors);
  const auto add = [&](const char* name, auto function) {
    const auto coded = [function](const Napi::CallbackInfo& info) {
      return WithCodes(info.Env(), [&] { return function(info); });
    };
    exports.Set(name, Napi::Function::New(env, coded, name));
  };
  const auto add_job = [&](const char* name, auto post, auto& executor) {
    add(name, [post, &executor](const Napi::CallbackInfo& info) { return post(info, executor); });
  };
  add("cpuInfo", CpuInfo);
  add("cudaInfo", CudaInfo);
  add("cudaCounters", CudaCountersOf);
  add("countInstructions", CountInstructions);
  add("lockFile", LockFile);
  add("fuseRows", FuseRowsOf);
  add("allFinite", AllFiniteOf);
  add("joinCrc32", JoinCrc32Of);
  add("preferHugePages", PreferHugePagesOf);
  add("release", Release);
  add_job("resizeCrop", ResizeCropJob, executors->images);
  add_job("prepareJpeg", PrepareJpegJob, executors->images);
  add_job("decodeJpeg", DecodeJpegJob, executors->images);
  add_job("measureLimits", StartMeasuringLimits, executors->compute);
  add_job("fuseFile", FuseFileJob, executors->files);
  exports.Set("crc32", env.Null());
  if (CarrylessBits() > 0) add("crc32", Crc32Of);
  exports.Set("Network", NetworkObject::Define(env, &executors->compute));
  return exports;
}

NODE_API_MODULE(repvgg, Init)

}  // namespace
}  // namespace repvgg
