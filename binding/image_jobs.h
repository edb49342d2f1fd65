// Image decoding and resizing on the executor's threads. ts/native/addon.ts declares these functions.
#pragma once

#include <napi.h>

#include "binding/executor.h"

namespace repvgg {

Napi::Value ResizeCropJob(const Napi::CallbackInfo& info, Executor& images);
Napi::Value PrepareJpegJob(const Napi::CallbackInfo& info, Executor& images);
Napi::Value DecodeJpegJob(const Napi::CallbackInfo& info, Executor& images);

}  // namespace repvgg
