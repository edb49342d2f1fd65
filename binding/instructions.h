// How many instructions this process executes: for `repvgg bench`.
#pragma once

#include <napi.h>

namespace repvgg {

// countInstructions(): (() => number) | string, which says why not
Napi::Value CountInstructions(const Napi::CallbackInfo& info);

}  // namespace repvgg
