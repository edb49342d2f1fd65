#include "binding/loading.h"

#include "binding/arguments.h"
#include "engine/crc32.h"
#include "engine/fuse_rows.h"

namespace repvgg {
namespace {

const float* Data(const Napi::Value& value) { return value.As<Napi::Float32Array>().Data(); }

const double* Doubles(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  return value.IsNull() ? nullptr : value.As<Napi::Float64Array>().Data();
}

}  // namespace

Napi::Value FuseRowsOf(const Napi::CallbackInfo& info) {
  auto target = info[0].As<Napi::Float32Array>();
  const auto scales = info[3].As<Napi::Object>();
  const size_t width = ToInt(info[5]);
  const bool finite =
      FuseRows(target.Data(), Data(info[1]), Data(info[2]),
               {Doubles(scales, "dense"), Doubles(scales, "pointwise"), Doubles(scales, "identity")},
               ToInt(info[4]), target.ElementLength() / (9 * width), width);
  return Napi::Boolean::New(info.Env(), finite);
}

Napi::Value Crc32Of(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const uint32_t before = info[1].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), Crc32(before, bytes.Data(), bytes.ByteLength()));
}

}  // namespace repvgg
