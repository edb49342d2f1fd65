#pragma once

#include <vector>

#include "cpu/kernels.h"
#include "cpu/maps.h"
#include "cpu/packed_convolution.h"
#include "cpu/row_pieces.h"
#include "cpu/thread_pool.h"
#include "cpu/winograd.h"
#include "engine/algorithms.h"
#include "engine/huge_array.h"
#include "engine/network.h"

namespace repvgg::cpu {

// Of a Winograd algorithm.
WinogradTile TileOf(ConvolutionAlgorithm algorithm);

// Working memory of convolutions, shared by all layers of a network. Layers enlarge it when they are
// constructed.
struct Scratch {
  explicit Scratch(int threads) : of_thread(threads) {}
  HugeArray<float> shared;
  std::vector<HugeArray<float>> of_thread;
};

// An fp32 convolution with its weights packed for one algorithm.
class Fp32ConvolutionLayer {
 public:
  // `weight` is [out_channels][in_channels / groups][taps]; 9 taps are 3x3 with padding 1, 1 tap is 1x1.
  // `width` is that of the output maps. An empty bias means zeros.
  Fp32ConvolutionLayer(const KernelTable& kernels, const BlockShape& block, int width, int taps,
                       ConvolutionAlgorithm algorithm, Floats weight, Floats bias, Scratch& scratch);

  // Direct convolution with weights already packed.
  Fp32ConvolutionLayer(const KernelTable& kernels, const BlockShape& block, int width,
                       PackedConvolution packed, Floats bias);

  // Zeros in the layout of direct convolution, for PackWeights to fill.
  static PackedConvolution MakePacked(const KernelTable& kernels, const BlockShape& block, int width,
                                      int taps);

  // out = convolution(in) + bias, then ReLU if asked, for `images` images. Zeroes the border of `out`.
  void Run(ThreadPool& pool, Scratch& scratch, int images, const Fp32Maps& in, const Fp32Maps& out,
           bool relu) const;

 private:
  void RunDirect(ThreadPool& pool, int images, const Fp32Maps& in, const Fp32Maps& out, bool relu) const;
  void RunPieces(const RowPieces& pieces, size_t block, size_t first, size_t last, ptrdiff_t in_row,
                 bool relu) const;
  void RunWinograd(ThreadPool& pool, Scratch& scratch, int images, const Fp32Maps& in, const Fp32Maps& out,
                   bool relu) const;
  void RunSharedTiles(ThreadPool& pool, float* shared, const WinogradMaps& maps, bool relu) const;
  void RunOwnTiles(ThreadPool& pool, Scratch& scratch, const WinogradMaps& maps, bool relu) const;

  const KernelTable& kernels_;
  const BlockKernels& blocks_;
  const ConvolutionAlgorithm algorithm_;
  PackedConvolution direct_;
  PackedWinograd winograd_;
  bool share_tiles_ = false;
  int most_tiles_ = 0;  // In a set.
};

}  // namespace repvgg::cpu
