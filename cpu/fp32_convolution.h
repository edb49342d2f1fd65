#pragma once

#include "cpu/maps.h"
#include "cpu/thread_pool.h"

namespace repvgg::cpu {

// An fp32 convolution with its weights packed for one algorithm.
class Fp32Convolution {
 public:
  virtual ~Fp32Convolution() = default;

  // out = convolution(in) + bias, then ReLU if asked, for `images` images. Zeroes the border of `out`.
  virtual void Run(ThreadPool& pool, int images, const Fp32Maps& in, const Fp32Maps& out,
                   bool relu) const = 0;
};

}  // namespace repvgg::cpu
