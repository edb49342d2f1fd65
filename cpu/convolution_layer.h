#pragma once

#include <vector>

#include "cpu/huge_array.h"
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
