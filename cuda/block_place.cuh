// The mapping of blocks to output tiles that all GEMM kernels but Hopper's share.
#pragma once

#include "cuda/convolution.h"
#include "cuda/ptx.cuh"

namespace repvgg::cuda {

// A tile of kRows rows (pixels or Winograd tiles) x kChannels output channels of one group. Blocks that read
// the same pixels are adjacent.
template <int kRows, int kChannels>
struct BlockPlace {
  int first_row, group, first_channel;

  REPVGG_DEVICE BlockPlace(int group_out, int groups) {
    const int channel_tiles = DivideUp(group_out, kChannels), columns = channel_tiles * groups;
    first_row = blockIdx.x / columns * kRows;
    group = blockIdx.x % columns / channel_tiles;
    first_channel = blockIdx.x % columns % channel_tiles * kChannels;
  }
  static int Count(int rows, int group_out, int groups) {
    return DivideUp(rows, kRows) * DivideUp(group_out, kChannels) * groups;
  }
};

}  // namespace repvgg::cuda
