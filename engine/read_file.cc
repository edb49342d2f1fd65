#include "engine/read_file.h"

#include <unistd.h>

#include <cerrno>

namespace repvgg {

bool ReadFully(int descriptor, int64_t position, uint8_t* to, size_t size) {
  while (size > 0) {
    const ssize_t count = pread(descriptor, to, size, position);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    to += count;
    size -= count;
    position += count;
  }
  return true;
}

}  // namespace repvgg
