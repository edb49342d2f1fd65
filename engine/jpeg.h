// Decodes JPEGs with libjpeg-turbo, row by row, to the same 8-bit RGB pixels as sharp and Pillow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>

#include "engine/row_source.h"

namespace repvgg {

// The library in this build, such as "libjpeg-turbo 2.1.5"; null without one.
const char* JpegLibrary();

// Thrown for anything but an ordinary, undamaged JPEG: CMYK, whatever the library warns about, more than 268
// megapixels, more than 100 scans, a need for over 256 MiB, or an EXIF orientation to apply. Such images are
// left to another decoder.
class JpegRefused : public std::exception {};

// A JPEG in memory, decoded top-down with only a few rows held at a time.
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

  // Decodes the rest of the entropy-coded data, so that damage there is noticed too.
  void Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace repvgg
