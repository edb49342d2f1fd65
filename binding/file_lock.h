// Locks a file that a run appends rows to; false if another run holds it.
#pragma once

#include <napi.h>

namespace repvgg {

// lockFile(descriptor): boolean
Napi::Value LockFile(const Napi::CallbackInfo& info);

}  // namespace repvgg
