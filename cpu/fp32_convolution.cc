#include "cpu/fp32_convolution.h"

#include <algorithm>
#include <utility>

namespace repvgg::cpu {
namespace {

// A Winograd convolution is divided among threads in one of two ways. Usually by tiles: each thread processes
// few at a time, of one group of channels, so that their transforms stay in its L2 cache; 28 was at or near
// the best of 14 to 112 for 48 to 512 channels whose weights fit there too. Where a group's weights do not
// fit, more tiles at a time reuse them before they are evicted. Ungrouped weights of that size are too large
// for every thread to read all of them: then all threads share one large set of tiles and divide the
// positions, and every weight is read once per set.
constexpr int kTilesOfThread = 28;
constexpr int kTilesOfLargeGroup = 48;
constexpr int kSharedTiles = 128;
constexpr size_t kLargeWeights = size_t{1} << 18;  // In floats: 1 MB, half of a typical L2 cache.

// Bytes of input rows that direct convolution processes for all blocks before moving on: they stay in the L2
// cache beside a block's weights. 512 KB was the best of 256 KB to all rows.
constexpr size_t kInputInCache = size_t{512} << 10;

size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

// Calls body(first, count) for nearly equal parts, of at most `most` tiles, of a range of tiles.
template <typename Body>
void ForParts(size_t begin, size_t end, size_t most, const Body& body) {
  const size_t parts = DivideUp(end - begin, most);
  for (size_t part = 0; part < parts; ++part) {
    const size_t first = begin + (end - begin) * part / parts;
    body(static_cast<int>(first), static_cast<int>(begin + (end - begin) * (part + 1) / parts - first));
  }
}

const WinogradTransforms& TransformsOf(const KernelTable& kernels, WinogradTile tile) {
  if (tile.rows == 2) return kernels.winograd2x2;
  return tile.columns == 2 ? kernels.winograd4x2 : kernels.winograd4x4;
}

}  // namespace

WinogradTile TileOf(ConvolutionAlgorithm algorithm) {
  return {algorithm == ConvolutionAlgorithm::kF2 ? 2 : 4, algorithm == ConvolutionAlgorithm::kF4 ? 4 : 2};
}

PackedConvolution Fp32ConvolutionLayer::MakePacked(const KernelTable& kernels, const BlockShape& block,
                                                   int width, int taps) {
  const BlockKernels& blocks = SelectBlocks(kernels, block.out_channels / block.groups, width);
  return cpu::MakePacked(taps, block.in_channels, block.out_channels, block.stride, block.groups,
                         blocks.width);
}

Fp32ConvolutionLayer::Fp32ConvolutionLayer(const KernelTable& kernels, const BlockShape& block, int width,
                                           PackedConvolution packed, Floats bias)
    : kernels_(kernels),
      blocks_(SelectBlocks(kernels, block.out_channels / block.groups, width)),
      algorithm_(ConvolutionAlgorithm::kDirect),
      direct_(std::move(packed)) {
  if (!bias.empty()) PackBias(direct_, bias.data());
}

Fp32ConvolutionLayer::Fp32ConvolutionLayer(const KernelTable& kernels, const BlockShape& block, int width,
                                           int taps, ConvolutionAlgorithm algorithm, Floats weight,
                                           Floats bias, Scratch& scratch)
    : kernels_(kernels),
      blocks_(SelectBlocks(kernels, block.out_channels / block.groups,
                           algorithm == ConvolutionAlgorithm::kDirect ? width : 0)),
      algorithm_(algorithm) {
  if (algorithm == ConvolutionAlgorithm::kDirect) {
    direct_ = MakePacked(kernels, block, width, taps);
    PackWeights(direct_, weight.data(), 0, block.out_channels);
    if (!bias.empty()) PackBias(direct_, bias.data());
    return;
  }
  winograd_ = PackWinograd(TileOf(algorithm), weight.data(), bias.data(), block.in_channels,
                           block.out_channels, block.groups, blocks_.width);
  const bool large = winograd_.storage.size() / block.groups > kLargeWeights;
  share_tiles_ = large && block.groups == 1;
  most_tiles_ = share_tiles_ ? kSharedTiles : large ? kTilesOfLargeGroup : kTilesOfThread;
  const auto grow = [](HugeArray<float>& array, size_t size) {
    if (array.size() < size) array = HugeArray<float>(size);
  };
  const size_t size = WinogradInputSize(winograd_, most_tiles_) + WinogradProductSize(winograd_, most_tiles_);
  if (share_tiles_) {
    grow(scratch.shared, size);
  } else {
    for (HugeArray<float>& own : scratch.of_thread) grow(own, size);
  }
}

void Fp32ConvolutionLayer::Run(ThreadPool& pool, Scratch& scratch, int images, const Fp32Maps& in,
                               const Fp32Maps& out, bool relu) const {
  if (algorithm_ == ConvolutionAlgorithm::kDirect) {
    RunDirect(pool, images, in, out, relu);
  } else {
    RunWinograd(pool, scratch, images, in, out, relu);
  }
}

// Pieces in the inner loop: a block's weights are read from memory once for all pieces whose input stays in
// cache.
void Fp32ConvolutionLayer::RunDirect(ThreadPool& pool, int images, const Fp32Maps& in, const Fp32Maps& out,
                                     bool relu) const {
  const size_t blocks = static_cast<size_t>(direct_.groups) * direct_.blocks;
  const auto run = [&](const RowPieces& pieces) {
    const size_t input = in.row_stride() * direct_.stride * sizeof(float) / pieces.per_row;
    const size_t most = std::max<size_t>(kInputInCache / input, 2);
    const size_t end = pieces.rows * pieces.per_row;
    for (size_t begin = pieces.by_blocks ? 0 : pieces.OfBlock(0).first; begin < end; begin += most) {
      for (size_t block = 0; block < blocks; ++block) {
        const auto [first, last] = pieces.OfBlock(block);
        RunPieces(pieces, block, std::max(first, begin), std::min(last, begin + most), in.row_stride(), relu);
      }
    }
  };
  ForRowPieces(pool, images, in, out, direct_.stride, blocks_.most_pixels, blocks, direct_.storage.size(),
               run);
}

void Fp32ConvolutionLayer::RunPieces(const RowPieces& pieces, size_t block, size_t first, size_t last,
                                     ptrdiff_t in_row, bool relu) const {
  if (first >= last) return;
  Turn turn = {0, static_cast<int>(DivideUp(last - first, 2)), nullptr};
  for (size_t i = first; i < last; i += 2, ++turn.number) {
    const Pixels second = i + 1 < last ? pieces(i + 1) : Pixels{};
    turn.next = pieces(i + 2 < last ? i + 2 : first).in;
    blocks_.convolve(direct_, in_row, block / direct_.blocks, block % direct_.blocks, turn, pieces(i), second,
                     pieces.pixels, relu);
  }
}

void Fp32ConvolutionLayer::RunWinograd(ThreadPool& pool, Scratch& scratch, int images, const Fp32Maps& in,
                                       const Fp32Maps& out, bool relu) const {
  const WinogradSide rows = CutIntoTiles(winograd_.tile.rows, out.size.height);
  const WinogradSide columns = CutIntoTiles(winograd_.tile.columns, out.size.width);
  const WinogradMaps maps = {in.row(0, 0),     in.row_stride(),    in.image_stride(), out.row(0, 0),
                             out.row_stride(), out.image_stride(), out.size.height,   out.size.width,
                             images,           rows.whole,         columns.whole,     rows.narrow,
                             columns.narrow};
  pool.Run(images, [&](const ThreadPool::Share& share) {
    for (size_t image = share.begin; image < share.end; ++image) ZeroBorder(out, image);
  });
  if (share_tiles_) {
    RunSharedTiles(pool, scratch.shared.data(), maps, relu);
  } else {
    RunOwnTiles(pool, scratch, maps, relu);
  }
}

// All threads work on the same tiles: on different tiles in the transforms, on different positions and
// channels in between.
void Fp32ConvolutionLayer::RunSharedTiles(ThreadPool& pool, float* shared, const WinogradMaps& maps,
                                          bool relu) const {
  const WinogradTransforms& transforms = TransformsOf(kernels_, winograd_.tile);
  const int channels = winograd_.group_in;
  ForParts(0, maps.tiles(), most_tiles_, [&](int first, int count) {
    const WinogradTiles tiles = {first, count, shared, WinogradInputPosition(winograd_, count)};
    float* const product = shared + WinogradInputSize(winograd_, count);
    pool.Run(count, [&](const ThreadPool::Share& share) {
      transforms.input(maps, channels, 0, channels, first + share.begin, share.end - share.begin,
                       tiles.v + share.begin * channels, tiles.v_position);
    });
    pool.Run(WinogradWork(winograd_, maps, tiles), [&](const ThreadPool::Share& share) {
      MultiplyWinograd(blocks_, winograd_, maps, tiles, 0, share.begin, share.end, product);
    });
    pool.Run(count, [&](const ThreadPool::Share& share) {
      OutputWinograd(transforms, winograd_, maps, tiles, 0, share.begin, share.end, relu, product);
    });
  });
}

// Each thread works on tiles of its own, of one group after the other.
void Fp32ConvolutionLayer::RunOwnTiles(ThreadPool& pool, Scratch& scratch, const WinogradMaps& maps,
                                       bool relu) const {
  const WinogradTransforms& transforms = TransformsOf(kernels_, winograd_.tile);
  const int group_in = winograd_.group_in;
  const size_t all_tiles = maps.tiles();
  pool.Run(winograd_.groups * all_tiles, [&](const ThreadPool::Share& share) {
    float* const own = scratch.of_thread[share.thread].data();
    for (size_t begin = share.begin; begin < share.end;) {
      const int group = static_cast<int>(begin / all_tiles);
      const size_t of_group = group * all_tiles;
      const size_t end = std::min(share.end, of_group + all_tiles);
      ForParts(begin - of_group, end - of_group, most_tiles_, [&](int first, int count) {
        const WinogradTiles tiles = {first, count, own, WinogradInputPosition(winograd_, count)};
        float* const product = own + WinogradInputSize(winograd_, count);
        transforms.input(maps, winograd_.in_channels, group * group_in, group_in, first, count, tiles.v,
                         tiles.v_position);
        MultiplyWinograd(blocks_, winograd_, maps, tiles, group, 0, WinogradWork(winograd_, maps, tiles),
                         product);
        OutputWinograd(transforms, winograd_, maps, tiles, group, 0, count, relu, product);
      });
      begin = end;
    }
  });
}

}  // namespace repvgg::cpu
