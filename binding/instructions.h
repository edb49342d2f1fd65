// Counts the instructions that this process executes, for `repvgg bench`.
#pragma once

#include <napi.h>

namespace repvgg {

// countInstructions(): (() => number) | string, the string being the reason why it cannot
Napi::Value CountInstructions(const Napi::CallbackInfo& info);

}  // namespace repvgg
