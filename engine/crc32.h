#pragma once

#include <cstddef>
#include <cstdint>

namespace repvgg {

// The bits that one instruction of this processor multiplies without carries: 512 (VPCLMULQDQ), 128
// (PCLMULQDQ) or 0.
int CarrylessBits();

// The CRC-32 of zip files. `before` is the checksum of the preceding bytes, 0 if there are none. `bits`
// selects instructions, 0 none: bytes are then looked up in tables, as by Node's zlib.
uint32_t Crc32(uint32_t before, const uint8_t* bytes, size_t count, int bits = CarrylessBits());

// The checksum of a concatenation, from the checksums `before` and `behind` of its parts and the length
// `count` of the second.
uint32_t JoinCrc32(uint32_t before, uint32_t behind, uint64_t count);

}  // namespace repvgg
