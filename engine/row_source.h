// Delivers an image row by row, top-down, so that it need never be in memory as a whole.
#pragma once

#include <cstddef>
#include <cstdint>

namespace repvgg {

// A rectangle of pixels; `right` and `bottom` are exclusive.
struct Region {
  int left = 0;
  int top = 0;
  int right = 0;
  int bottom = 0;
};

// The rows of an 8-bit RGB image.
class RowSource {
 public:
  // This many bytes behind each row are readable, with arbitrary values, for vector loads that overrun it.
  static constexpr size_t kReadableBeyond = 16;

  virtual ~RowSource() = default;

  // Called once, before the first Next(). Pixels outside the region need not be decoded.
  virtual void Select(const Region& region) = 0;

  // The region's next row, [right - left][3]; valid until the next call.
  virtual const uint8_t* Next() = 0;
};

}  // namespace repvgg
