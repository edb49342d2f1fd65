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

// Cuts the rows of `out` into pieces of equal width, at most `most_pixels`, shares them out and calls
// run(pieces) on each thread; pieces(i) for i from begin to end gives the pixels of one. The last piece of a
// row begins early enough to be as wide as the others: some of its pixels may be computed twice, with the
// same result.
template <class T>
struct RowPieces {
  size_t begin;
  size_t end;
  const Maps<T>& in;
  const Maps<T>& out;
  int stride;
  int per_row;
  int pixels;

  Pixels<T> operator()(size_t index) const {
    if (index >= end) return {};
    const int image = index / per_row / out.size.height;
    const int y = index / per_row % out.size.height;
    const ptrdiff_t x = std::min<ptrdiff_t>(index % per_row * pixels, out.size.width - pixels);
    return {in.row(image, y * stride) + x * stride * in.channels, out.row(image, y) + x * out.channels};
  }
};

template <class T, class Run>
void ForRowPieces(ThreadPool& pool, int images, const Maps<T>& in, const Maps<T>& out, int stride,
                  int most_pixels, const Run& run) {
  const int per_row = (out.size.width + most_pixels - 1) / most_pixels;
  const int pixels = (out.size.width + per_row - 1) / per_row;
  pool.Run(images, [&](const ThreadPool::Share& share) {
    for (size_t image = share.begin; image < share.end; ++image) ZeroBorder(out, image);
  });
  // Whole rows: the pieces of a row may overlap, and two threads must not write the same pixels.
  pool.Run(static_cast<size_t>(images) * out.size.height, [&](const ThreadPool::Share& rows) {
    run(RowPieces<T>{rows.begin * per_row, rows.end * per_row, in, out, stride, per_row, pixels});
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
