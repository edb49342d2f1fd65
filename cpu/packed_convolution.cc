#include "cpu/packed_convolution.h"

#include <algorithm>
#include <cstring>

namespace repvgg::cpu {
namespace {

// A range of output channels within a block.
struct Lanes {
  size_t block;
  size_t first;
  size_t count;
};

// The longest prefix of `count` channels from `channel` on that lies in one block.
Lanes LanesOf(const ConvolutionShape& shape, size_t channel, size_t count) {
  const size_t in_group = channel % shape.group_out;
  const size_t first = in_group % shape.block_width;
  const size_t block = channel / shape.group_out * shape.blocks + in_group / shape.block_width;
  return {block, first, std::min({count, shape.block_width - first, shape.group_out - in_group})};
}

constexpr int kChannelsTogether = 8;

// to[i] = from[i * row]. Four at a time, since compilers do not vectorise this themselves.
void CopyColumn(const float* from, size_t row, size_t count, float* to) {
  typedef float Four __attribute__((vector_size(16)));
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const Four four = {from[i * row], from[(i + 1) * row], from[(i + 2) * row], from[(i + 3) * row]};
    std::memcpy(to + i, &four, sizeof(four));
  }
  for (; i < count; ++i) to[i] = from[i * row];
}

}  // namespace

PackedConvolution MakePacked(int taps, int in_channels, int out_channels, int stride, int groups,
                             int block_width) {
  PackedConvolution packed;
  static_cast<ConvolutionShape&>(packed) =
      MakeConvolutionShape(in_channels, out_channels, stride, groups, block_width);
  const bool whole_rows = taps == 9 && groups == 1;
  packed.runs = whole_rows ? 3 : taps;
  packed.run_length = whole_rows ? 3 * in_channels : packed.group_in;
  for (int run = 0; run < packed.runs && taps == 9; ++run) {
    const int first_tap = whole_rows ? run * 3 : run;
    packed.run[run] = {first_tap / 3 - 1, (first_tap % 3 - 1) * in_channels};
  }
  const size_t blocks = static_cast<size_t>(groups) * packed.blocks;
  const size_t weights = blocks * taps * packed.group_in * block_width;
  packed.storage = HugeArray<float>(weights + blocks * block_width);
  packed.weight = packed.storage.data();
  packed.bias = packed.storage.data() + weights;
  return packed;
}

void PackWeights(PackedConvolution& packed, const float* weight, size_t first, size_t count) {
  // Taps are consecutive within a run, and runs within the window: the order is taps, then channels, in both
  // cases.
  const size_t row = static_cast<size_t>(packed.runs) * packed.run_length;
  const size_t taps = row / packed.group_in;
  for (size_t done = 0; done < count;) {
    const Lanes lanes = LanesOf(packed, first + done, count - done);
    float* of_block = packed.storage.data() + lanes.block * row * packed.block_width + lanes.first;
    // A few input channels at a time: their weights stay in the L1 cache for all taps, and writes for a tap
    // are contiguous.
    for (int begin = 0; begin < packed.group_in; begin += kChannelsTogether) {
      const int end = std::min(begin + kChannelsTogether, packed.group_in);
      for (size_t tap = 0; tap < taps; ++tap) {
        for (int c = begin; c < end; ++c) {
          CopyColumn(weight + done * row + c * taps + tap, row, lanes.count,
                     of_block + (tap * packed.group_in + c) * packed.block_width);
        }
      }
    }
    done += lanes.count;
  }
}

void PackBias(PackedConvolution& packed, const float* bias) {
  float* of_blocks = packed.storage.data() + (packed.bias - packed.weight);
  for (size_t done = 0; done < static_cast<size_t>(packed.out_channels);) {
    const Lanes lanes = LanesOf(packed, done, packed.out_channels - done);
    std::copy_n(bias + done, lanes.count, of_blocks + lanes.block * packed.block_width + lanes.first);
    done += lanes.count;
  }
}

}  // namespace repvgg::cpu
