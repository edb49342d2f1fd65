#include "engine/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/resample_axis.h"
#include "engine/resample_kernels.h"

namespace repvgg {
namespace {

// Python's round((size - crop) / 2): halves to even.
int64_t CropOffset(int64_t size, int crop) {
  return static_cast<int64_t>(std::nearbyint((size - crop) / 2.0));
}

// The rows of an image in memory.
class PixelRows final : public RowSource {
 public:
  PixelRows(const uint8_t* pixels, int width, int height)
      : stride_(static_cast<size_t>(width) * kChannels), next_(pixels), end_(pixels + stride_ * height) {}

  void Select(const Region& region) override {
    length_ = static_cast<size_t>(region.right - region.left) * kChannels;
    next_ += region.top * stride_ + static_cast<size_t>(region.left) * kChannels;
  }

  const uint8_t* Next() override {
    const uint8_t* row = next_;
    next_ += stride_;
    if (static_cast<size_t>(end_ - row) >= length_ + kReadableBeyond) return row;
    copy_.resize(length_ + kReadableBeyond);
    std::memcpy(copy_.data(), row, length_);
    return copy_.data();
  }

 private:
  const size_t stride_;
  const uint8_t* next_;
  const uint8_t* const end_;
  size_t length_ = 0;
  std::vector<uint8_t> copy_;  // Of a row with too few readable bytes behind it.
};

}  // namespace

void ResizeCrop(int width, int height, const Geometry& geometry, RowSource& source, uint8_t* out,
                ResampleKernels kernels) {
  int64_t new_width = width;
  int64_t new_height = height;
  if (geometry.resize > 0 && geometry.squash) {
    new_width = new_height = geometry.resize;
  } else if (geometry.resize > 0) {
    const int64_t narrow = std::min(width, height);
    const int64_t wide = std::max(width, height);
    const auto longer =
        static_cast<int64_t>(static_cast<double>(geometry.resize * wide) / static_cast<double>(narrow));
    new_width = width <= height ? geometry.resize : longer;
    new_height = width <= height ? longer : geometry.resize;
  }
  const int crop = geometry.crop;
  // torchvision pads floor((crop - size) / 2) zeros in front of an image smaller than the crop.
  const int pad_x = static_cast<int>(std::max<int64_t>(0, (crop - new_width) / 2));
  const int pad_y = static_cast<int>(std::max<int64_t>(0, (crop - new_height) / 2));
  const int64_t left = new_width >= crop ? CropOffset(new_width, crop) : 0;
  const int64_t top = new_height >= crop ? CropOffset(new_height, crop) : 0;
  const Axis x = MakeAxis(width, new_width, left, std::min(left + crop, new_width), geometry.interpolation);
  const Axis y = MakeAxis(height, new_height, top, std::min(top + crop, new_height), geometry.interpolation);
  const size_t length = static_cast<size_t>(x.outputs()) * kChannels;
  if (x.outputs() < crop || y.outputs() < crop)
    std::memset(out, 0, static_cast<size_t>(crop) * crop * kChannels);

  // Pillow's Image.resize runs the vertical pass first where it shrinks a very tall image.
  const bool vertical_first =
      static_cast<int64_t>(height) > static_cast<int64_t>(width) * 100 && new_height < height;
  const size_t kept = vertical_first ? static_cast<size_t>(x.end - x.begin) * kChannels : length;
  const size_t stride = std::max(kept, length) + kRowSlack;
  const HorizontalPass horizontal(x, kernels);
  const VerticalPass vertical(y, kernels);
  std::vector<uint8_t> ring(stride * y.taps);  // Row i is kept at i % taps.
  std::vector<const uint8_t*> rows((y.taps + kTapsAtOnce - 1) / kTapsAtOnce * kTapsAtOnce, ring.data());
  std::vector<uint8_t> made(stride);
  std::vector<uint8_t> made_last(vertical_first ? stride : 0);

  source.Select({x.begin, y.begin, x.end, y.end});
  int read = 0;
  for (int i = 0; i < y.outputs(); ++i) {
    for (; read < y.first[i] + y.count[i]; ++read) {
      const uint8_t* row = source.Next();
      uint8_t* to = &ring[read % y.taps * stride];
      if (vertical_first) {
        std::memcpy(to, row, kept);
      } else {
        horizontal.Run(row, to);
      }
    }
    for (int k = 0; k < y.count[i]; ++k) rows[k] = &ring[(y.first[i] + k) % y.taps * stride];
    vertical.Run(i, rows.data(), kept, made.data());
    if (vertical_first) horizontal.Run(made.data(), made_last.data());
    const std::vector<uint8_t>& result = vertical_first ? made_last : made;
    std::memcpy(out + (static_cast<size_t>(pad_y + i) * crop + pad_x) * kChannels, result.data(), length);
  }
}

void ResizeCrop(const uint8_t* pixels, int width, int height, const Geometry& geometry, uint8_t* out,
                ResampleKernels kernels) {
  PixelRows rows(pixels, width, height);
  ResizeCrop(width, height, geometry, rows, out, kernels);
}

}  // namespace repvgg
