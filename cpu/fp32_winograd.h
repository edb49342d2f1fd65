#pragma once

#include <vector>

#include "cpu/fp32_convolution.h"
#include "cpu/kernels.h"
#include "cpu/winograd.h"
#include "engine/algorithms.h"
#include "engine/huge_array.h"
#include "engine/network.h"

namespace repvgg::cpu {

WinogradTile TileOf(ConvolutionAlgorithm algorithm);

// Working memory, shared by all layers of a network. Layers enlarge it when they are constructed.
struct Scratch {
  explicit Scratch(int threads) : of_thread(threads) {}
  HugeArray<float> shared;
  std::vector<HugeArray<float>> of_thread;
};

// A 3x3 convolution of stride 1 by Winograd's algorithms (cpu/winograd.h).
class Fp32Winograd : public Fp32Convolution {
 public:
  // `weight` is [out_channels][in_channels / groups][3][3]. `scratch`, which has as many threads as the pool
  // of each run, must outlive this.
  Fp32Winograd(const KernelTable& kernels, const BlockShape& block, WinogradTile tile, Floats weight,
               Floats bias, Scratch& scratch);

  void Run(ThreadPool& pool, int images, const Fp32Maps& in, const Fp32Maps& out, bool relu) const override;

 private:
  void RunSharedTiles(ThreadPool& pool, const WinogradMaps& maps, bool relu) const;
  void RunOwnTiles(ThreadPool& pool, const WinogradMaps& maps, bool relu) const;

  const BlockKernels& blocks_;
  const WinogradTransforms& transforms_;
  const PackedWinograd packed_;
  Scratch& scratch_;
  bool share_tiles_ = false;
  int most_tiles_ = 0;  // In a set.
};

}  // namespace repvgg::cpu
