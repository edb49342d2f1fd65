#pragma once

#include <cstdint>

namespace repvgg::cpu {

// The operand of LDTILECFG: all eight tiles have 16 rows of 64 bytes. GCC 12 assumes that the instruction
// reads only the first 8 bytes and may eliminate stores to the rest.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

}  // namespace repvgg::cpu
