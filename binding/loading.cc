#include "binding/loading.h"

#include "binding/arguments.h"
#include "engine/crc32.h"
#include "engine/fuse_rows.h"

namespace repvgg {
namespace {

Napi::Error WrongLengths(Napi::Env env) {
  return Napi::Error::New(env, "Expected arrays of the lengths of one block.");
}

// The numbers of an array. What a file says must never lead past the end of memory, so lengths are checked
// here once more.
template <class Array>
auto Numbers(const Napi::Value& value, size_t least) {
  auto array = value.As<Array>();
  if (array.ElementLength() < least) throw WrongLengths(value.Env());
  return array.Data();
}

}  // namespace

Napi::Value FuseRowsOf(const Napi::CallbackInfo& info) {
  const auto scales = info[3].As<Napi::Object>();
  if (ToInt(info[4]) < 0 || ToInt(info[5]) < 1) throw WrongLengths(info.Env());
  const size_t first = ToInt(info[4]);
  const size_t width = ToInt(info[5]);
  const size_t length = info[0].As<Napi::Float32Array>().ElementLength();
  const size_t count = length / (9 * width);
  const auto scales_of = [&](const char* branch) -> const double* {
    const Napi::Value value = scales.Get(branch);
    return value.IsNull() ? nullptr : Numbers<Napi::Float64Array>(value, first + count);
  };
  const bool finite =
      FuseRows(Numbers<Napi::Float32Array>(info[0], length), Numbers<Napi::Float32Array>(info[1], length),
               Numbers<Napi::Float32Array>(info[2], (first + count) * width),
               {scales_of("dense"), scales_of("pointwise"), scales_of("identity")}, first, count, width);
  return Napi::Boolean::New(info.Env(), finite);
}

Napi::Value Crc32Of(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const uint32_t before = info[1].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), Crc32(before, bytes.Data(), bytes.ByteLength()));
}

}  // namespace repvgg
