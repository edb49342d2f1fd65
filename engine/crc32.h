#pragma once

#include <cstddef>
#include <cstdint>

namespace repvgg {

// Whether this processor has carry-less multiplication (PCLMULQDQ); without it, Crc32 must not be called.
bool HasCrc32();

// Whether it also has the 512-bit form (VPCLMULQDQ).
bool HasWideCrc32();

// The CRC-32 of zip files. `before` is the checksum of the preceding bytes, 0 if there are none. Several
// times as fast as Node's zlib, which looks bytes up in tables. `wide` selects the 512-bit instructions.
uint32_t Crc32(uint32_t before, const uint8_t* bytes, size_t count, bool wide = HasWideCrc32());

// The checksum of a concatenation, from the checksums `before` and `behind` of its parts and the length
// `count` of the second.
uint32_t JoinCrc32(uint32_t before, uint32_t behind, uint64_t count);

}  // namespace repvgg
