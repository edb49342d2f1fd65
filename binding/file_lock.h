// Whether a file is in use by another run: for files of rows that a run appends to.
#pragma once

#include <napi.h>

namespace repvgg {

// lockFile(descriptor): boolean
Napi::Value LockFile(const Napi::CallbackInfo& info);

}  // namespace repvgg
