#include "binding/file_lock.h"

#include <sys/file.h>

#include <cerrno>

namespace repvgg {

Napi::Value LockFile(const Napi::CallbackInfo& info) {
  const int descriptor = info[0].As<Napi::Number>().Int32Value();
  // flock, since its locks belong to the open file, not to the process: they also exclude other runs within
  // this process, and are released with the last descriptor, however the process ends. File systems without
  // locks exclude nobody.
  const bool is_taken = flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  return Napi::Boolean::New(info.Env(), !is_taken);
}

}  // namespace repvgg
