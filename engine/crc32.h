#pragma once

#include <cstddef>
#include <cstdint>

namespace repvgg {

// Whether this processor multiplies polynomials, without which Crc32 must not be called.
bool HasCrc32();

// The CRC-32 of zip files, of bytes behind others whose checksum is `before` (0 for none). Several times as
// fast as that of the zlib in Node, which takes its bytes from tables.
uint32_t Crc32(uint32_t before, const uint8_t* bytes, size_t count);

// The checksum of bytes with the checksum `before`, and `count` bytes behind them with the checksum `behind`.
uint32_t JoinCrc32(uint32_t before, uint32_t behind, uint64_t count);

}  // namespace repvgg
