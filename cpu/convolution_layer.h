#pragma once

#include <algorithm>
#include <vector>

#include "cpu/huge_array.h"
#include "cpu/kernels.h"
#include "cpu/maps.h"
#include "cpu/thread_pool.h"

namespace repvgg::cpu {

// Memory that convolutions need while they run, shared by all layers of a network. They grow it when they are
// made.
struct Scratch {
  explicit Scratch(int threads) : of_thread(threads) {}
  HugeArray<float> shared;
  std::vector<HugeArray<float>> of_thread;
};

// The rows of `out` cut into pieces of equal width, and those that one thread computes. The last piece of a
// row begins early enough to be as wide as the others: some of its pixels may be computed twice, with the
// same result.
template <class T>
struct RowPieces {
  const Maps<T>& in;
  const Maps<T>& out;
  int stride;
  int per_row;
  int pixels;
  size_t rows;        // Of all images.
  bool by_blocks;     // Blocks of output channels are shared out, not rows of all blocks.
  size_t begin, end;  // This thread's rows, counted over the blocks if by_blocks.

  Pixels<T> operator()(size_t index) const {
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

// Calls run(pieces) on each thread. Threads have rows of their own, or blocks of output channels where
// `weights` are more than the maps that are read: then no weight is read twice.
template <class T, class Run>
void ForRowPieces(ThreadPool& pool, int images, const Maps<T>& in, const Maps<T>& out, int stride,
                  int most_pixels, size_t blocks, size_t weights, const Run& run) {
  const int per_row = (out.size.width + most_pixels - 1) / most_pixels;
  const int pixels = (out.size.width + per_row - 1) / per_row;
  pool.Run(images, [&](const ThreadPool::Share& share) {
    for (size_t image = share.begin; image < share.end; ++image) ZeroBorder(out, image);
  });
  // Whole rows: the pieces of a row may overlap, and two threads must not write the same pixels.
  const size_t rows = static_cast<size_t>(images) * out.size.height;
  const bool by_blocks = weights > static_cast<size_t>(images) * in.image_stride();
  pool.Run(by_blocks ? rows * blocks : rows, [&](const ThreadPool::Share& share) {
    run(RowPieces<T>{in, out, stride, per_row, pixels, rows, by_blocks, share.begin, share.end});
  });
}

// One convolution whose weights are packed, for activations of type T.
template <class T>
class ConvolutionLayer {
 public:
  virtual ~ConvolutionLayer() = default;

  // out = convolution(in) + bias, then ReLU if asked, for `images` images. Zeroes the border of `out`.
  virtual void Run(ThreadPool& pool, Scratch& scratch, int images, const Maps<T>& in, const Maps<T>& out,
                   bool relu) const = 0;
};

}  // namespace repvgg::cpu
