// Reads JPEGs with libjpeg-turbo, row by row, to the same 8-bit RGB pixels as sharp and Pillow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>

#include "engine/row_source.h"

namespace repvgg {

// The library that this build has, such as "libjpeg-turbo 2.1.5"; null if it has none.
const char* JpegLibrary();

// Thrown for all that is not an ordinary, undamaged JPEG: CMYK, anything the library warns of, more than 268
// megapixels, a progressive one of more than 100 scans or that needs over 256 MiB, or an EXIF orientation to
// be applied. Another decoder has the last word on those.
class JpegRefused : public std::exception {};

// A JPEG in memory, decoded from the top down while only a few rows of it are held.
class JpegReader : public RowSource {
 public:
  // `data` must outlive the reader. With `orient`, an image that is stored rotated or mirrored is refused.
  JpegReader(const uint8_t* data, size_t size, bool orient);
  ~JpegReader() override;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  int width() const;
  int height() const;

  void Select(const Region& region) override;
  const uint8_t* Next() override;

  // Looks at what is left, so that damage there is noticed too.
  void Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace repvgg
