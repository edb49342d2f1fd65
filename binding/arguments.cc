#include "binding/arguments.h"

#include <atomic>
#include <initializer_list>
#include <new>

#include "engine/error.h"

namespace repvgg {
namespace {

int GetInt(const Napi::Object& object, const char* name) { return ToInt(object.Get(name)); }

bool Present(const Napi::Value& value) { return !value.IsNull() && !value.IsUndefined(); }

Floats GetFloats(const Napi::Object& object, const char* name, Executor::Job& job) {
  const Napi::Value value = object.Get(name);
  if (!Present(value)) return {};
  const auto array = value.As<Napi::Float32Array>();
  job.Keep(array);
  return {array.Data(), array.ElementLength()};
}

BatchNorm GetBatchNorm(const Napi::Object& object, const char* name, Executor::Job& job) {
  const Napi::Value value = object.Get(name);
  if (!Present(value)) return {};
  const auto from = value.As<Napi::Object>();
  return {GetFloats(from, "gamma", job), GetFloats(from, "beta", job), GetFloats(from, "mean", job),
          GetFloats(from, "variance", job), from.Get("eps").As<Napi::Number>().DoubleValue()};
}

TrainBranch GetBranch(const Napi::Object& object, const char* name, Executor::Job& job) {
  const auto from = object.Get(name).As<Napi::Object>();
  return {GetFloats(from, "weight", job), GetFloats(from, "bias", job), GetBatchNorm(from, "batchNorm", job)};
}

SqueezeExcite GetSqueezeExcite(const Napi::Object& object, Executor::Job& job) {
  const Napi::Value value = object.Get("squeezeExcite");
  if (!Present(value)) return {};
  const auto from = value.As<Napi::Object>();
  return {GetFloats(from, "downWeight", job), GetFloats(from, "downBias", job),
          GetFloats(from, "upWeight", job), GetFloats(from, "upBias", job)};
}

std::array<float, 3> GetThree(const Napi::Object& object, const char* name) {
  const auto array = object.Get(name).As<Napi::Array>();
  std::array<float, 3> out;
  for (uint32_t i = 0; i < 3; ++i) out[i] = array.Get(i).As<Napi::Number>().FloatValue();
  return out;
}

// The value whose name it is.
template <typename Enum>
Enum ToEnum(const Napi::Value& value, const char* (*name_of)(Enum), std::initializer_list<Enum> all) {
  const std::string name = value.As<Napi::String>().Utf8Value();
  for (const Enum one : all) {
    if (name == name_of(one)) return one;
  }
  throw Error("ERR_INVALID_ARGUMENT", "The addon knows no \"" + name + "\".");
}

}  // namespace

int ToInt(const Napi::Value& value) { return value.As<Napi::Number>().Int32Value(); }

Napi::Object NewArray(Napi::Env env, const char* constructor, size_t length) {
  const auto create = env.Global().Get(constructor).As<Napi::Function>();
  try {
    return create.New({Napi::Number::New(env, static_cast<double>(length))});
  } catch (const Napi::Error&) {  // A RangeError.
    throw std::bad_alloc();
  }
}

NetworkShape ToNetworkShape(const Napi::Object& value) {
  NetworkShape shape;
  shape.form = value.Get("form").As<Napi::String>().Utf8Value() == "train" ? Form::kTrain : Form::kDeploy;
  if (const Napi::Value position = value.Get("squeezeExcite"); Present(position)) {
    shape.squeeze_excite = position.As<Napi::String>().Utf8Value() == "before-relu"
                               ? SqueezeExcitePosition::kBeforeRelu
                               : SqueezeExcitePosition::kAfterRelu;
  }
  const auto blocks = value.Get("blocks").As<Napi::Array>();
  for (uint32_t i = 0; i < blocks.Length(); ++i) {
    const auto block = blocks.Get(i).As<Napi::Object>();
    shape.blocks.push_back({GetInt(block, "inChannels"), GetInt(block, "outChannels"),
                            GetInt(block, "stride"), GetInt(block, "groups"),
                            block.Get("identity").ToBoolean(), GetInt(block, "squeezeChannels")});
  }
  shape.num_classes = GetInt(value, "numClasses");
  shape.height = GetInt(value, "height");
  shape.width = GetInt(value, "width");
  shape.mean = GetThree(value, "mean");
  shape.stddev = GetThree(value, "std");
  if (const Napi::Value ranges = value.Get("ranges"); Present(ranges)) {
    const auto array = ranges.As<Napi::Float32Array>();
    shape.ranges.assign(array.Data(), array.Data() + array.ElementLength());
  }
  return shape;
}

Precision ToPrecision(const Napi::Value& name) {
  return ToEnum(name, PrecisionName,
                {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16, Precision::kFp8});
}

BackendOptions ToBackendOptions(const Napi::Object& value) {
  using Algorithm = ConvolutionAlgorithm;
  BackendOptions options;
  options.precision = ToPrecision(value.Get("precision"));
  options.batch_size = GetInt(value, "batchSize");
  if (const Napi::Value threads = value.Get("threads"); Present(threads)) options.threads = ToInt(threads);
  if (const Napi::Value set = value.Get("instructionSet"); Present(set)) {
    options.instruction_set = set.As<Napi::String>().Utf8Value();
  }
  if (const Napi::Value algorithm = value.Get("algorithm"); Present(algorithm)) {
    options.algorithm =
        ToEnum(algorithm, AlgorithmName,
               {Algorithm::kDirect, Algorithm::kF2, Algorithm::kF4x2, Algorithm::kF4, Algorithm::kFused});
  }
  if (const Napi::Value winograd = value.Get("winograd"); Present(winograd)) {
    options.winograd =
        ToEnum(winograd, WinogradName, {Winograd::kAuto, Winograd::kOff, Winograd::kF2, Winograd::kF4});
  }
  return options;
}

Geometry ToGeometry(const Napi::Object& value) {
  const bool bicubic = value.Get("interpolation").As<Napi::String>().Utf8Value() == "bicubic";
  return {GetInt(value, "resize"), GetInt(value, "crop"),
          bicubic ? Interpolation::kBicubic : Interpolation::kBilinear,
          value.Get("squash").ToBoolean().Value()};
}

Napi::Value FromKernelSink(Napi::Env env, const std::shared_ptr<KernelSink>& sink) {
  if (sink == nullptr) return env.Null();
  const auto finalize = [](Napi::Env, std::weak_ptr<KernelSink>* made) { delete made; };
  return Napi::External<std::weak_ptr<KernelSink>>::New(env, new std::weak_ptr<KernelSink>(sink), finalize);
}

std::shared_ptr<KernelSink> ToKernelSink(const Napi::Value& value) {
  return value.As<Napi::External<std::weak_ptr<KernelSink>>>().Data()->lock();
}

DeployBlock ToDeployBlock(const Napi::Object& value, Executor::Job& job) {
  return {GetFloats(value, "weight", job), GetFloats(value, "bias", job), GetSqueezeExcite(value, job), {}};
}

TrainBlock ToTrainBlock(const Napi::Object& value, Executor::Job& job) {
  return {GetBranch(value, "dense", job), GetBranch(value, "pointwise", job),
          GetBatchNorm(value, "identity", job), GetSqueezeExcite(value, job)};
}

Linear ToLinear(const Napi::Object& value, Executor::Job& job) {
  return {GetFloats(value, "weight", job), GetFloats(value, "bias", job)};
}

Cancelled ToCancelled(const Napi::Value& flag, const Executor& executor, Executor::Job& job) {
  auto array = flag.As<Napi::Uint8Array>();
  job.Keep(array);
  uint8_t* byte = array.Data();
  return [byte, &executor] {
    return executor.stopping() || std::atomic_ref<uint8_t>(*byte).load(std::memory_order_relaxed) != 0;
  };
}

}  // namespace repvgg
