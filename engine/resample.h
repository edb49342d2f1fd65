// Resize and centre crop of 8-bit RGB images, equal to torchvision's transforms on Pillow images in every
// pixel.
#pragma once

#include <cstdint>

#include "engine/row_source.h"

namespace repvgg {

enum class Interpolation { kBilinear, kBicubic };

struct Geometry {
  // The short side is scaled to this, the long side to int(resize * long / short); 0 leaves both.
  int resize = 0;
  int crop = 0;  // Side of the centre crop. A smaller image is padded with zeros.
  Interpolation interpolation = Interpolation::kBilinear;
  bool squash = false;  // Both sides are scaled to `resize`.
};

// `out` is [crop][crop][3]. Only the part of the resized image that the crop keeps is computed, only what
// that depends on is asked of the source, and of it no more rows are kept than one row of the crop is made
// of: cost and memory of a large or a long thin image stay bounded.
void ResizeCrop(int width, int height, const Geometry& geometry, RowSource& source, uint8_t* out);

// The same of `pixels`, [height][width][3].
void ResizeCrop(const uint8_t* pixels, int width, int height, const Geometry& geometry, uint8_t* out);

}  // namespace repvgg
