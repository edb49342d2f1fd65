#pragma once

#include <vector>

#include "cpu/bf16_kernels.h"
#include "cpu/bf16_maps.h"
#include "cpu/thread_pool.h"
#include "engine/huge_array.h"
#include "engine/network.h"

namespace repvgg::cpu {

// A direct 3x3 convolution in bf16.
class Bf16ConvolutionLayer {
 public:
  // `weight` is [out_channels][in_channels / groups][3][3], to be stored in so many parts. `in` is the plane
  // that the block reads, and `out` the one that the next block will. The first block of a network reads
  // windows (cpu/bf16_input.h) instead.
  Bf16ConvolutionLayer(const Bf16Kernels& kernels, const BlockShape& block, Floats weight, Floats bias,
                       int weight_parts, const Bf16Plane& in, const Bf16Plane& out, bool first);

  // out = convolution(in) + bias, then ReLU if asked, for `images` images. Zeroes the border of `out`.
  void Run(ThreadPool& pool, int images, const Bf16Maps& in, const Bf16Maps& out, bool relu) const;

 private:
  struct Block : Bf16Block {
    int first_in_block = 0;
    size_t weight_lines = 0;
  };

  void MakeCalls(MapSize out, int pitch);
  void MakeBlocks(const BlockShape& block, Floats bias);
  void Pack(const BlockShape& block, Floats weight);
  void RunCalls(const Bf16Convolution& convolution, int images, const Bf16Maps& in, const Bf16Maps& out,
                bool by_blocks, const ThreadPool::Share& share) const;
  void RunBlock(const Bf16Convolution& convolution, size_t index, size_t first, size_t last,
                const Bf16Maps& in, const Bf16Maps& out, Bf16Waiting& waiting) const;

  const Bf16Kernels& kernels_;
  const bool first_;
  Bf16Convolution convolution_;
  std::vector<Block> blocks_;
  std::vector<Bf16Positions> calls_;  // Of an image and a block.
  std::vector<int> to_;               // The output line of each position, or -1.
  std::vector<int> border_;           // Output lines without a pixel.
  HugeArray<Bf16> weight_;
  std::vector<float> bias_;
};

}  // namespace repvgg::cpu
