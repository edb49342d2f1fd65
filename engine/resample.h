// Resize and centre crop of 8-bit RGB images, equal to torchvision's transforms on Pillow images in every
// pixel.
#pragma once

#include <cstdint>

namespace repvgg {

enum class Interpolation { kBilinear, kBicubic };

struct Geometry {
  int resize =
      0;  // The short side is scaled to this, the long side to int(resize * long / short); 0 leaves both.
  int crop = 0;  // Side of the centre crop. A smaller image is padded with zeros.
  Interpolation interpolation = Interpolation::kBilinear;
};

// `pixels` is [height][width][3]; `out` is [crop][crop][3]. Only the part of the resized image that the crop
// keeps is computed, so the cost of a long thin image stays bounded.
void ResizeCrop(const uint8_t* pixels, int width, int height, const Geometry& geometry, uint8_t* out);

}  // namespace repvgg
