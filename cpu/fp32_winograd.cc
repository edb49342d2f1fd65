#include "cpu/fp32_winograd.h"

#include <algorithm>

namespace repvgg::cpu {
namespace {

// The work is divided among threads in one of two ways. Usually by tiles: each thread processes
// few at a time, of one group of channels, so that their transforms stay in its L2 cache; 28 was at or near
// the best of 14 to 112 for 48 to 512 channels whose weights fit there too. Where a group's weights do not
// fit, more tiles at a time reuse them before they are evicted. Ungrouped weights of that size are too large
// for every thread to read all of them: then all threads share one large set of tiles and divide the
// positions, and every weight is read once per set.
constexpr int kTilesOfThread = 28;
constexpr int kTilesOfLargeGroup = 48;
constexpr int kSharedTiles = 128;
constexpr size_t kLargeWeights = size_t{1} << 18;  // In floats: 1 MB, half of a typical L2 cache.

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

Fp32Winograd::Fp32Winograd(const KernelTable& kernels, const BlockShape& block, WinogradTile tile,
                           Floats weight, Floats bias, Scratch& scratch)
    : blocks_(SelectBlocks(kernels, block.out_channels / block.groups, 0)),
      transforms_(TransformsOf(kernels, tile)),
      packed_(PackWinograd(tile, weight.data(), bias.data(), block.in_channels, block.out_channels,
                           block.groups, blocks_.width)),
      scratch_(scratch) {
  const bool large = packed_.storage.size() / block.groups > kLargeWeights;
  share_tiles_ = large && block.groups == 1;
  most_tiles_ = share_tiles_ ? kSharedTiles : large ? kTilesOfLargeGroup : kTilesOfThread;
  const auto grow = [](HugeArray<float>& array, size_t size) {
    if (array.size() < size) array = HugeArray<float>(size);
  };
  const size_t size = WinogradInputSize(packed_, most_tiles_) + WinogradProductSize(packed_, most_tiles_);
  if (share_tiles_) {
    grow(scratch.shared, size);
  } else {
    for (HugeArray<float>& own : scratch.of_thread) grow(own, size);
  }
}

void Fp32Winograd::Run(ThreadPool& pool, int images, const Fp32Maps& in, const Fp32Maps& out,
                       bool relu) const {
  const WinogradSide rows = CutIntoTiles(packed_.tile.rows, out.size.height);
  const WinogradSide columns = CutIntoTiles(packed_.tile.columns, out.size.width);
  const WinogradMaps maps = {in.row(0, 0),     in.row_stride(),    in.image_stride(), out.row(0, 0),
                             out.row_stride(), out.image_stride(), out.size.height,   out.size.width,
                             images,           rows.whole,         columns.whole,     rows.narrow,
                             columns.narrow};
  pool.Run(images, [&](const ThreadPool::Share& share) {
    for (size_t image = share.begin; image < share.end; ++image) ZeroBorder(out, image);
  });
  if (share_tiles_) {
    RunSharedTiles(pool, maps, relu);
  } else {
    RunOwnTiles(pool, maps, relu);
  }
}

// All threads work on the same tiles: on different tiles in the transforms, on different positions and
// channels in between.
void Fp32Winograd::RunSharedTiles(ThreadPool& pool, const WinogradMaps& maps, bool relu) const {
  float* const shared = scratch_.shared.data();
  const int channels = packed_.group_in;
  ForParts(0, maps.tiles(), most_tiles_, [&](int first, int count) {
    const WinogradTiles tiles = {first, count, shared, WinogradInputPosition(packed_, count)};
    float* const product = shared + WinogradInputSize(packed_, count);
    pool.Run(count, [&](const ThreadPool::Share& share) {
      transforms_.input(maps, channels, 0, channels, first + share.begin, share.end - share.begin,
                        tiles.v + share.begin * channels, tiles.v_position);
    });
    pool.Run(WinogradWork(packed_, maps, tiles), [&](const ThreadPool::Share& share) {
      MultiplyWinograd(blocks_, packed_, maps, tiles, 0, share.begin, share.end, product);
    });
    pool.Run(count, [&](const ThreadPool::Share& share) {
      OutputWinograd(transforms_, packed_, maps, tiles, 0, share.begin, share.end, relu, product);
    });
  });
}

// Each thread works on tiles of its own, of one group after the other.
void Fp32Winograd::RunOwnTiles(ThreadPool& pool, const WinogradMaps& maps, bool relu) const {
  const int group_in = packed_.group_in;
  const size_t all_tiles = maps.tiles();
  pool.Run(packed_.groups * all_tiles, [&](const ThreadPool::Share& share) {
    float* const own = scratch_.of_thread[share.thread].data();
    for (size_t begin = share.begin; begin < share.end;) {
      const int group = static_cast<int>(begin / all_tiles);
      const size_t of_group = group * all_tiles;
      const size_t end = std::min(share.end, of_group + all_tiles);
      ForParts(begin - of_group, end - of_group, most_tiles_, [&](int first, int count) {
        const WinogradTiles tiles = {first, count, own, WinogradInputPosition(packed_, count)};
        float* const product = own + WinogradInputSize(packed_, count);
        transforms_.input(maps, packed_.in_channels, group * group_in, group_in, first, count, tiles.v,
                          tiles.v_position);
        MultiplyWinograd(blocks_, packed_, maps, tiles, group, 0, WinogradWork(packed_, maps, tiles),
                         product);
        OutputWinograd(transforms_, packed_, maps, tiles, group, 0, count, relu, product);
      });
      begin = end;
    }
  });
}

}  // namespace repvgg::cpu
