#include "cpu/fp32_direct.h"

#include <algorithm>
#include <utility>

namespace repvgg::cpu {
namespace {

// Bytes of input rows that are processed for all blocks before moving on: they stay in the L2 cache beside a
// block's weights. 512 KB was the best of 256 KB to all rows.
constexpr size_t kInputInCache = size_t{512} << 10;

const BlockKernels& BlocksOf(const KernelTable& kernels, const BlockShape& block, int width) {
  return SelectBlocks(kernels, block.out_channels / block.groups, width);
}

PackedConvolution Pack(PackedConvolution packed, const BlockShape& block, Floats weight) {
  PackWeights(packed, weight.data(), 0, block.out_channels);
  return packed;
}

}  // namespace

PackedConvolution Fp32Direct::MakePacked(const KernelTable& kernels, const BlockShape& block, int width,
                                         int taps) {
  return cpu::MakePacked(taps, block.in_channels, block.out_channels, block.stride, block.groups,
                         BlocksOf(kernels, block, width).width);
}

Fp32Direct::Fp32Direct(const KernelTable& kernels, const BlockShape& block, int width,
                       PackedConvolution packed, Floats bias)
    : blocks_(BlocksOf(kernels, block, width)), packed_(std::move(packed)) {
  if (!bias.empty()) PackBias(packed_, bias.data());
}

Fp32Direct::Fp32Direct(const KernelTable& kernels, const BlockShape& block, int width, int taps,
                       Floats weight, Floats bias)
    : Fp32Direct(kernels, block, width, Pack(MakePacked(kernels, block, width, taps), block, weight), bias) {}

// Pieces in the inner loop: a block's weights are read from memory once for all pieces whose input stays in
// cache.
void Fp32Direct::Run(ThreadPool& pool, int images, const Fp32Maps& in, const Fp32Maps& out, bool relu) const {
  const size_t blocks = static_cast<size_t>(packed_.groups) * packed_.blocks;
  const auto run = [&](const RowPieces& pieces) {
    const size_t input = in.row_stride() * packed_.stride * sizeof(float) / pieces.per_row;
    const size_t most = std::max<size_t>(kInputInCache / input, 2);
    const size_t end = pieces.rows * pieces.per_row;
    for (size_t begin = pieces.by_blocks ? 0 : pieces.OfBlock(0).first; begin < end; begin += most) {
      for (size_t block = 0; block < blocks; ++block) {
        const auto [first, last] = pieces.OfBlock(block);
        RunPieces(pieces, block, std::max(first, begin), std::min(last, begin + most), in.row_stride(), relu);
      }
    }
  };
  ForRowPieces(pool, images, in, out, packed_.stride, blocks_.most_pixels, blocks, packed_.storage.size(),
               run);
}

void Fp32Direct::RunPieces(const RowPieces& pieces, size_t block, size_t first, size_t last, ptrdiff_t in_row,
                           bool relu) const {
  if (first >= last) return;
  Turn turn = {0, static_cast<int>(DivideUp(last - first, 2)), nullptr};
  for (size_t i = first; i < last; i += 2, ++turn.number) {
    const Pixels second = i + 1 < last ? pieces(i + 1) : Pixels{};
    turn.next = pieces(i + 2 < last ? i + 2 : first).in;
    blocks_.convolve(packed_, in_row, block / packed_.blocks, block % packed_.blocks, turn, pieces(i), second,
                     pieces.pixels, relu);
  }
}

}  // namespace repvgg::cpu
