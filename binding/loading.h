// The parts of checkpoint loading that touch every byte, and are therefore native.
#pragma once

#include <napi.h>

#include "binding/executor.h"

namespace repvgg {

// (target, dense, pointwise, {dense, pointwise, identity}, first, width) -> boolean; see engine/fuse_rows.h.
Napi::Value FuseRowsOf(const Napi::CallbackInfo& info);

// (target, dense, pointwise, {dense, pointwise, identity}, first, count, width, cancel) -> Promise<{finite,
// denseCrc32, pointwiseCrc32} | null>. `target` is an array or a sink, `dense` and `pointwise` are file
// ranges {descriptor, position, checksum}; see engine/fuse_file.h.
Napi::Value FuseFileJob(const Napi::CallbackInfo& info, Executor& files);

// (values) -> boolean: whether all elements of a Float32Array are finite.
Napi::Value AllFiniteOf(const Napi::CallbackInfo& info);

// (bytes, before) -> number; see engine/crc32.h.
Napi::Value Crc32Of(const Napi::CallbackInfo& info);

// (before, behind, count) -> number; see engine/crc32.h.
Napi::Value JoinCrc32Of(const Napi::CallbackInfo& info);

// (array): asks for 2 MB pages; see engine/huge_array.h.
void PreferHugePagesOf(const Napi::CallbackInfo& info);

}  // namespace repvgg
