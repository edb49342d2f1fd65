#include "binding/network_object.h"

#include "binding/arguments.h"
#include "engine/error.h"
#include "engine/registry.h"

namespace repvgg {
namespace {

int ToCount(const Napi::Value& batch) { return ToInt(batch.As<Napi::Object>().Get("count")); }

// {pixels: Uint8Array, count}
ImageBatch ToBatch(const Napi::Value& value, Executor::Job& job) {
  const auto pixels = value.As<Napi::Object>().Get("pixels").As<Napi::Uint8Array>();
  job.Keep(pixels);
  return {pixels.Data(), ToCount(value)};
}

}  // namespace

Napi::Function NetworkObject::Define(Napi::Env env, DeviceExecutors* executors) {
  return DefineClass(env, "Network",
                     {InstanceMethod<&NetworkObject::Coded<&NetworkObject::SetBlock>>("setBlock"),
                      InstanceMethod<&NetworkObject::Coded<&NetworkObject::MakeSink>>("makeSink"),
                      InstanceMethod<&NetworkObject::Coded<&NetworkObject::SetLinear>>("setLinear"),
                      InstanceMethod<&NetworkObject::Coded<&NetworkObject::Run>>("run"),
                      InstanceMethod<&NetworkObject::Coded<&NetworkObject::RunTopK>>("runTopK"),
                      InstanceMethod<&NetworkObject::Coded<&NetworkObject::MeasureRate>>("measureRate"),
                      InstanceMethod<&NetworkObject::Coded<&NetworkObject::Describe>>("describe"),
                      InstanceMethod<&NetworkObject::Coded<&NetworkObject::Dispose>>("dispose")},
                     executors);
}

NetworkObject::NetworkObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto options = info[1].As<Napi::Object>();
  const std::string backend_name = options.Get("backend").As<Napi::String>().Utf8Value();
  WithCodes(info.Env(), [&] {
    const auto backend = CreateBackend(backend_name, ToBackendOptions(options));
    network_ = std::make_shared<std::unique_ptr<Network>>(
        backend->CreateNetwork(ToNetworkShape(info[0].As<Napi::Object>())));
    compute_ = &static_cast<DeviceExecutors*>(info.Data())->For(info.Env(), backend_name);
  });
}

void NetworkObject::ThrowIfDisposed(Napi::Env env) const {
  if (disposed_) throw ToJavaScript(env, {"ERR_DISPOSED", "This network is disposed."});
}

Napi::Value NetworkObject::SetBlock(const Napi::CallbackInfo& info) {
  ThrowIfDisposed(info.Env());
  auto job = std::make_unique<Executor::Job>(info.Env());
  const size_t index = ToInt(info[0]);
  const auto parameters = info[1].As<Napi::Object>();
  if ((*network_)->shape().form == Form::kTrain) {
    job->SetWork([network = network_, index, block = ToTrainBlock(parameters, *job)] {
      (*network)->SetBlock(index, block);
    });
  } else {
    job->SetWork([network = network_, index, block = ToDeployBlock(parameters, *job)] {
      (*network)->SetBlock(index, block);
    });
  }
  return compute_->Post(info.Env(), std::move(job));
}

Napi::Value NetworkObject::MakeSink(const Napi::CallbackInfo& info) {
  ThrowIfDisposed(info.Env());
  return FromKernelSink(info.Env(), (*network_)->MakeSink(ToInt(info[0])));
}

Napi::Value NetworkObject::SetLinear(const Napi::CallbackInfo& info) {
  ThrowIfDisposed(info.Env());
  auto job = std::make_unique<Executor::Job>(info.Env());
  job->SetWork([network = network_, linear = ToLinear(info[0].As<Napi::Object>(), *job)] {
    (*network)->SetLinear(linear);
  });
  return compute_->Post(info.Env(), std::move(job));
}

Napi::Value NetworkObject::Run(const Napi::CallbackInfo& info) {
  ThrowIfDisposed(info.Env());
  const std::string name = info[1].As<Napi::String>().Utf8Value();
  Results results;
  results.output = name == "logits"   ? Output::kLogits
                   : name == "ranges" ? Output::kRanges
                                      : Output::kEmbedding;
  const size_t count = results.Count((*network_)->shape(), ToCount(info[0]));
  auto out = NewArray(info.Env(), "Float32Array", count).As<Napi::Float32Array>();
  results.values = out.Data();
  return Start(info, results, out);
}

Napi::Value NetworkObject::RunTopK(const Napi::CallbackInfo& info) {
  ThrowIfDisposed(info.Env());
  const Napi::Env env = info.Env();
  Results results{Output::kTopK, ToInt(info[1])};
  const size_t count = results.Count((*network_)->shape(), ToCount(info[0]));
  auto indices = NewArray(env, "Int32Array", count).As<Napi::Int32Array>();
  auto scores = NewArray(env, "Float32Array", count).As<Napi::Float32Array>();
  results.indices = indices.Data();
  results.values = scores.Data();
  const auto out = Napi::Object::New(env);
  out.Set("indices", indices);
  out.Set("scores", scores);
  return Start(info, results, out);
}

Napi::Value NetworkObject::Start(const Napi::CallbackInfo& info, const Results& results,
                                 const Napi::Object& out) {
  auto job = std::make_unique<Executor::Job>(info.Env());
  const ImageBatch batch = ToBatch(info[0], *job);
  job->Keep(out);
  const size_t out_slot = job->kept.size() - 1;
  job->start = [network = network_, batch, results, cancelled = ToCancelled(info[2], *compute_, *job)](
                   const Done& done) { (*network)->Run(batch, results, cancelled, done); };
  job->result = [out_slot](Napi::Env, Executor::Job& done) { return done.kept[out_slot].Value(); };
  return compute_->Post(info.Env(), std::move(job));
}

Napi::Value NetworkObject::MeasureRate(const Napi::CallbackInfo& info) {
  ThrowIfDisposed(info.Env());
  auto job = std::make_unique<Executor::Job>(info.Env());
  const auto rate = std::make_shared<double>();
  job->SetWork([network = network_, rate, batch = ToBatch(info[0], *job),
                seconds = info[1].As<Napi::Number>().DoubleValue(),
                cancelled = ToCancelled(info[2], *compute_, *job)] {
    *rate = (*network)->MeasureRate(batch, seconds, cancelled);
  });
  job->result = [rate](Napi::Env env, Executor::Job&) -> Napi::Value {
    return Napi::Number::New(env, *rate);
  };
  return compute_->Post(info.Env(), std::move(job));
}

Napi::Value NetworkObject::Describe(const Napi::CallbackInfo& info) {
  ThrowIfDisposed(info.Env());
  auto job = std::make_unique<Executor::Job>(info.Env());
  auto text = std::make_shared<std::string>();
  job->SetWork([network = network_, text] { *text = (*network)->Describe(); });
  job->result = [text](Napi::Env env, Executor::Job&) -> Napi::Value {
    return Napi::String::New(env, *text);
  };
  return compute_->Post(info.Env(), std::move(job));
}

Napi::Value NetworkObject::Dispose(const Napi::CallbackInfo& info) {
  disposed_ = true;
  auto job = std::make_unique<Executor::Job>(info.Env());
  job->SetWork([network = network_] { network->reset(); });
  return compute_->Post(info.Env(), std::move(job));
}

}  // namespace repvgg
