#pragma once

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/maps.h"
#include "cpu/thread_pool.h"

namespace repvgg::cpu {

// The rows of `out` cut into pieces of equal width, and one thread's share of them. The last piece of a row
// begins early enough to be as wide as the others, so some pixels may be computed twice, with the same
// result.
struct RowPieces {
  const Fp32Maps& in;
  const Fp32Maps& out;
  int stride;
  int per_row;
  int pixels;
  size_t rows;        // Of all images.
  bool by_blocks;     // Work is divided by block of output channels, not by row.
  size_t begin, end;  // This thread's rows, counted over the blocks if by_blocks.

  Pixels operator()(size_t index) const {
    const int image = index / per_row / out.size.height;
    const int y = index / per_row % out.size.height;
    const ptrdiff_t x = std::min<ptrdiff_t>(index % per_row * pixels, out.size.width - pixels);
    return {in.row(image, y * stride) + x * stride * in.channels, out.row(image, y) + x * out.channels};
  }

  // This thread's pieces of a block.
  struct Range {
    size_t first, last;
  };
  Range OfBlock(size_t block) const {
    const size_t start = by_blocks ? block * rows : 0;
    const auto piece = [&](size_t row) { return (std::clamp(row, start, start + rows) - start) * per_row; };
    return {piece(begin), piece(end)};
  }
};

// Calls run(pieces) on each thread. Work is divided by row, or, where `weights` outnumber the elements of the
// input maps, by block of output channels, so that every weight is read by about one thread.
template <class Run>
void ForRowPieces(ThreadPool& pool, int images, const Fp32Maps& in, const Fp32Maps& out, int stride,
                  int most_pixels, size_t blocks, size_t weights, const Run& run) {
  const int per_row = static_cast<int>(DivideUp(out.size.width, most_pixels));
  const int pixels = static_cast<int>(DivideUp(out.size.width, per_row));
  pool.Run(images, [&](const ThreadPool::Share& share) {
    for (size_t image = share.begin; image < share.end; ++image) ZeroBorder(out, image);
  });
  // Whole rows: the pieces of a row may overlap, and two threads must not write the same pixels.
  const size_t rows = static_cast<size_t>(images) * out.size.height;
  const bool by_blocks = weights > static_cast<size_t>(images) * in.image_stride();
  pool.Run(by_blocks ? rows * blocks : rows, [&](const ThreadPool::Share& share) {
    run(RowPieces{in, out, stride, per_row, pixels, rows, by_blocks, share.begin, share.end});
  });
}

}  // namespace repvgg::cpu
