#include "binding/file_lock.h"

#include <sys/file.h>

#include <cerrno>

namespace repvgg {

Napi::Value LockFile(const Napi::CallbackInfo& info) {
  const int descriptor = info[0].As<Napi::Number>().Int32Value();
  // A lock of the open file, not of the process: it also keeps out other runs of this process, and the system
  // takes it away with the last descriptor, however the process ends. Where a file system has no locks,
  // nobody is kept out.
  const bool is_taken = flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  return Napi::Boolean::New(info.Env(), !is_taken);
}

}  // namespace repvgg
