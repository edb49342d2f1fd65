#pragma once

#include <cstddef>
#include <cstdint>

namespace repvgg {

// Reads `size` bytes from `position` on; false after an error or where the file ends before that. Reads that
// a signal interrupts and short ones are continued.
bool ReadFully(int descriptor, int64_t position, uint8_t* to, size_t size);

}  // namespace repvgg
