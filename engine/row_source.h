// How an image is handed over without ever being there as a whole: row by row, from the top down.
#pragma once

#include <cstddef>
#include <cstdint>

namespace repvgg {

// The pixels that are wanted: `right` and `bottom` are the first ones that are not.
struct Region {
  int left = 0;
  int top = 0;
  int right = 0;
  int bottom = 0;
};

// 8-bit RGB rows of an image.
class RowSource {
 public:
  // This many bytes after those of a row can be read, whatever they are: vectors are longer than pixels.
  static constexpr size_t kReadableBeyond = 16;

  virtual ~RowSource() = default;

  // Called once, before anything is read. What is outside need not be decoded.
  virtual void Select(const Region& region) = 0;

  // The region's next row, [right - left][3], until the next call.
  virtual const uint8_t* Next() = 0;
};

}  // namespace repvgg
