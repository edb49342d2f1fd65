// Resizes and centre-crops 8-bit RGB images to exactly the pixels of torchvision's transforms on Pillow
// images.
#pragma once

#include <cstdint>

#include "engine/row_source.h"

namespace repvgg {

enum class Interpolation { kBilinear, kBicubic };

struct Geometry {
  // The short side is scaled to this, the long side to int(resize * long / short); 0 keeps both.
  int resize = 0;
  int crop = 0;  // Side of the centre crop. Smaller images are padded with zeros.
  Interpolation interpolation = Interpolation::kBilinear;
  bool squash = false;  // Both sides are scaled to `resize`.
};

// All kernels give the same pixels. Only tests ask for the portable ones on a processor that has faster ones.
enum class ResampleKernels { kFastest, kPortable };

// `out` is [crop][crop][3]. Only the part of the resized image that the crop keeps is computed, and only the
// region it depends on is requested from the source. At most as many rows are held as one output row depends
// on, so time and memory stay bounded for very large and very elongated images.
void ResizeCrop(int width, int height, const Geometry& geometry, RowSource& source, uint8_t* out,
                ResampleKernels kernels = ResampleKernels::kFastest);

// The same for `pixels`, [height][width][3].
void ResizeCrop(const uint8_t* pixels, int width, int height, const Geometry& geometry, uint8_t* out,
                ResampleKernels kernels = ResampleKernels::kFastest);

}  // namespace repvgg
