#pragma once

#include <cstdint>

namespace repvgg::cpu {

// What LDTILECFG reads: all eight tiles of 16 rows of 64 bytes. GCC 12 believes that the instruction reads
// the first 8 bytes only, and drops stores to the rest that nothing else needs.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

}  // namespace repvgg::cpu
