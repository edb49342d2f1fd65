// Image work on threads of its own: neither the event loop nor the libuv pool waits for it. Each function is
// one of the addon's, as ts/native.ts declares them.
#pragma once

#include <napi.h>

#include "binding/executor.h"

namespace repvgg {

Napi::Value ResizeCropJob(const Napi::CallbackInfo& info, Executor& images);
Napi::Value PrepareJpegJob(const Napi::CallbackInfo& info, Executor& images);
Napi::Value DecodeJpegJob(const Napi::CallbackInfo& info, Executor& images);

}  // namespace repvgg
