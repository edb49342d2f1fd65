#include "binding/loading.h"

#include <memory>
#include <optional>
#include <utility>

#include "binding/arguments.h"
#include "engine/crc32.h"
#include "engine/fuse_file.h"
#include "engine/fuse_rows.h"
#include "engine/huge_array.h"

namespace repvgg {
namespace {

Napi::Error WrongLengths(Napi::Env env) {
  return Napi::Error::New(env, "Expected arrays of the lengths of one block.");
}

// The elements of an array. Lengths derive from untrusted files, so they are checked here once more.
template <class Array>
auto Numbers(const Napi::Value& value, size_t least) {
  auto array = value.As<Array>();
  if (array.ElementLength() < least) throw WrongLengths(value.Env());
  return array.Data();
}

BranchScales ToScales(const Napi::Object& value, size_t channels) {
  const auto of = [&](const char* branch) -> const double* {
    const Napi::Value scales = value.Get(branch);
    return scales.IsNull() ? nullptr : Numbers<Napi::Float64Array>(scales, channels);
  };
  return {of("dense"), of("pointwise"), of("identity")};
}

FileRange ToFileRange(const Napi::Value& value) {
  const auto range = value.As<Napi::Object>();
  return {ToInt(range.Get("descriptor")), range.Get("position").As<Napi::Number>().Int64Value(),
          range.Get("checksum").ToBoolean().Value()};
}

}  // namespace

Napi::Value FuseRowsOf(const Napi::CallbackInfo& info) {
  if (ToInt(info[4]) < 0 || ToInt(info[5]) < 1) throw WrongLengths(info.Env());
  const size_t first = ToInt(info[4]);
  const size_t width = ToInt(info[5]);
  const size_t length = info[0].As<Napi::Float32Array>().ElementLength();
  const size_t count = length / (9 * width);
  const bool finite =
      FuseRows(Numbers<Napi::Float32Array>(info[0], length), Numbers<Napi::Float32Array>(info[1], length),
               Numbers<Napi::Float32Array>(info[2], (first + count) * width) + first * width,
               ToScales(info[3].As<Napi::Object>(), first + count), first, count, width);
  return Napi::Boolean::New(info.Env(), finite);
}

Napi::Value FuseFileJob(const Napi::CallbackInfo& info, Executor& files) {
  const Napi::Env env = info.Env();
  const auto scales = info[3].As<Napi::Object>();
  if (ToInt(info[4]) < 0 || ToInt(info[5]) < 0 || ToInt(info[6]) < 1) throw WrongLengths(env);
  const size_t first = ToInt(info[4]);
  const size_t count = ToInt(info[5]);
  const size_t width = ToInt(info[6]);
  auto job = std::make_unique<Executor::Job>(env);
  FusionTarget target = {};
  if (info[0].IsExternal()) {
    target.sink = ToKernelSink(info[0]);
    if (!target.sink || width != target.sink->width || first + count > target.sink->channels) {
      throw WrongLengths(env);
    }
  } else {
    target.kernels = Numbers<Napi::Float32Array>(info[0], count * 9 * width);
    job->Keep(info[0].As<Napi::Object>());
  }
  for (const char* branch : {"dense", "pointwise", "identity"}) {
    if (!scales.Get(branch).IsNull()) job->Keep(scales.Get(branch).As<Napi::Object>());
  }
  auto fused = std::make_shared<std::optional<FusedFile>>();
  job->SetWork([=, dense = ToFileRange(info[1]), pointwise = ToFileRange(info[2]),
                factors = ToScales(scales, first + count), cancelled = ToCancelled(info[7], files, *job)] {
    *fused = FuseFile(target, dense, pointwise, factors, first, count, width, cancelled);
  });
  job->result = [fused](Napi::Env env, Executor::Job&) -> Napi::Value {
    if (!*fused) return env.Null();
    auto result = Napi::Object::New(env);
    result.Set("finite", (*fused)->finite);
    result.Set("denseCrc32", static_cast<double>((*fused)->dense_crc32));
    result.Set("pointwiseCrc32", static_cast<double>((*fused)->pointwise_crc32));
    return result;
  };
  return files.Post(env, std::move(job));
}

Napi::Value AllFiniteOf(const Napi::CallbackInfo& info) {
  const auto values = info[0].As<Napi::Float32Array>();
  return Napi::Boolean::New(info.Env(), AllFinite(values.Data(), values.ElementLength()));
}

Napi::Value Crc32Of(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const uint32_t before = info[1].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), Crc32(before, bytes.Data(), bytes.ByteLength()));
}

Napi::Value JoinCrc32Of(const Napi::CallbackInfo& info) {
  const auto number = [&](size_t i) { return info[i].As<Napi::Number>(); };
  const uint32_t joined = JoinCrc32(number(0).Uint32Value(), number(1).Uint32Value(), number(2).Int64Value());
  return Napi::Number::New(info.Env(), joined);
}

void PreferHugePagesOf(const Napi::CallbackInfo& info) {
  auto array = info[0].As<Napi::TypedArray>();
  auto* bytes = static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  PreferHugePages(bytes, array.ByteLength());
}

}  // namespace repvgg
