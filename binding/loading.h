// What reading a checkpoint leaves to native code: loops over all of its bytes.
#pragma once

#include <napi.h>

namespace repvgg {

// (target, dense, pointwise, {dense, pointwise, identity}, first, width) -> boolean; see engine/fuse_rows.h.
Napi::Value FuseRowsOf(const Napi::CallbackInfo& info);

// (bytes, before) -> number; see engine/crc32.h.
Napi::Value Crc32Of(const Napi::CallbackInfo& info);

}  // namespace repvgg
