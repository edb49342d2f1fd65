#pragma once

#include <string>
#include <vector>

#include "cpu/huge_array.h"
#include "cpu/kernels.h"
#include "cpu/maps.h"
#include "cpu/thread_pool.h"
#include "cpu/winograd.h"
#include "engine/network.h"

namespace repvgg::cpu {

enum class Algorithm { kDirect, kWinograd2, kWinograd4 };

// The fastest algorithm for a block that writes maps of size `out` for `images` images at a time, by a model
// of arithmetic and memory traffic. `wanted` is BackendOptions::algorithm.
Algorithm ChooseAlgorithm(const BlockShape& block, MapSize out, int images, int lanes,
                          const std::string& wanted);

// Memory that convolutions need while they run, shared by all layers of a network. Grown by them when they
// are packed.
struct Scratch {
  explicit Scratch(int threads) : of_thread(threads) {}
  HugeArray shared;
  std::vector<HugeArray> of_thread;
};

// One convolution, its weights packed for one algorithm.
class ConvolutionLayer {
 public:
  ConvolutionLayer() = default;

  // `weight` is [out_channels][in_channels / groups][taps]; 9 taps are 3x3 with padding 1, 1 tap is 1x1.
  ConvolutionLayer(const KernelTable& kernels, const BlockShape& block, int taps, Algorithm algorithm,
                   Floats weight, Floats bias, Scratch& scratch);

  // out = convolution(in) + bias, then ReLU if asked, for `images` images. Zeroes the border of `out`.
  void Run(const KernelTable& kernels, ThreadPool& pool, Scratch& scratch, int images, const Maps& in,
           const Maps& out, bool relu) const;

 private:
  void RunDirect(const KernelTable& kernels, ThreadPool& pool, int images, const Maps& in, const Maps& out,
                 bool relu) const;
  void RunWinograd(const KernelTable& kernels, ThreadPool& pool, Scratch& scratch, int images, const Maps& in,
                   const Maps& out, bool relu) const;

  Algorithm algorithm_ = Algorithm::kDirect;
  PackedConvolution direct_;
  PackedWinograd winograd_;
  bool share_tiles_ = false;
};

}  // namespace repvgg::cpu
