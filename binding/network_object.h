#pragma once

#include <napi.h>

#include <memory>

#include "binding/executor.h"
#include "engine/backend.h"

namespace repvgg {

// A JavaScript object that owns one engine network. All methods except makeSink post a job to the executor of
// the network's device, whose single thread is the only one to use the network, and return a promise. Jobs
// share ownership: a network that JavaScript has dropped lives until its last job is done. Once dispose() has
// been called, all methods but dispose() throw.
class NetworkObject : public Napi::ObjectWrap<NetworkObject> {
 public:
  // `executors` must outlive the class.
  static Napi::Function Define(Napi::Env env, DeviceExecutors* executors);

  // new Network(shape, options): NativeNetworkOptions of ts/native/addon.ts
  explicit NetworkObject(const Napi::CallbackInfo& info);

 private:
  template <Napi::Value (NetworkObject::*method)(const Napi::CallbackInfo&)>
  Napi::Value Coded(const Napi::CallbackInfo& info) {
    return WithCodes(info.Env(), [&] { return (this->*method)(info); });
  }
  void ThrowIfDisposed(Napi::Env env) const;
  // Common to run and runTopK. `out` owns the arrays that `results` points to.
  Napi::Value Start(const Napi::CallbackInfo& info, const Results& results, const Napi::Object& out);
  // setBlock(index, parameters): Promise<void>
  Napi::Value SetBlock(const Napi::CallbackInfo& info);
  // makeSink(index): sink | null
  Napi::Value MakeSink(const Napi::CallbackInfo& info);
  // setLinear({weight, bias}): Promise<void>
  Napi::Value SetLinear(const Napi::CallbackInfo& info);
  // run(batch, output, cancel): Promise<Float32Array>
  Napi::Value Run(const Napi::CallbackInfo& info);
  // runTopK(batch, k, cancel): Promise<{indices: Int32Array, scores: Float32Array}>
  Napi::Value RunTopK(const Napi::CallbackInfo& info);
  // measureRate(batch, seconds, cancel): Promise<number>
  Napi::Value MeasureRate(const Napi::CallbackInfo& info);
  // describe(): Promise<string>
  Napi::Value Describe(const Napi::CallbackInfo& info);
  // dispose(): Promise<void>
  Napi::Value Dispose(const Napi::CallbackInfo& info);

  Executor* compute_ = nullptr;
  bool disposed_ = false;
  std::shared_ptr<std::unique_ptr<Network>> network_;  // Emptied by the job of dispose().
};

}  // namespace repvgg
