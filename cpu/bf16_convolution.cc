#include "cpu/bf16_convolution.h"

#include <algorithm>

#include "cpu/bf16_input.h"
#include "engine/kernel_rounding.h"

namespace repvgg::cpu {
namespace {

// Bytes of input processed for all blocks of output channels before moving on: they stay in the L2 cache
// beside the weights of the current and the next block. Of 128 KB to 2 MB, 1 MB was at or near the best.
constexpr size_t kInputInCache = size_t{1} << 20;

// The lines without a pixel.
std::vector<int> BorderLines(const Bf16Plane& plane) {
  std::vector<bool> is_pixel(plane.lines());
  for (int y = 0; y < plane.size().height; ++y) {
    for (int x = 0; x < plane.size().width; ++x) is_pixel[plane.Line(y, x)] = true;
  }
  std::vector<int> lines;
  for (int line = 0; line < plane.lines(); ++line) {
    if (!is_pixel[line]) lines.push_back(line);
  }
  return lines;
}

}  // namespace

Bf16ConvolutionLayer::Bf16ConvolutionLayer(const Bf16Kernels& kernels, const BlockShape& block, Floats weight,
                                           Floats bias, int weight_parts, const Bf16Plane& in,
                                           const Bf16Plane& out, bool first)
    : kernels_(kernels), first_(first), border_(BorderLines(out)) {
  convolution_.weight_parts = weight_parts;
  const auto [height, width] = out.size();
  const int pitch = first ? width : in.pitch();
  if (first) {
    convolution_.taps = 1;
    convolution_.tap_line[0] = 0;
  } else {
    convolution_.taps = 9;
    for (int tap = 0; tap < 9; ++tap) convolution_.tap_line[tap] = in.Line(tap / 3 - 1, tap % 3 - 1);
  }
  MakeCalls(out.size(), pitch);
  const Bf16Positions& last = calls_.back();
  to_.assign(last.first + (last.rows - 1) * last.pitch + last.columns, -1);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) to_[static_cast<size_t>(y) * pitch + x] = out.Line(y, x);
  }
  MakeBlocks(block, bias);
  Pack(block, weight);
}

void Bf16ConvolutionLayer::MakeCalls(MapSize out, int pitch) {
  const int most = kernels_.most_pixels;
  if (most == 0) {
    const int positions = (out.height - 1) * pitch + out.width;
    for (int first = 0; first < positions; first += kBf16Positions)
      calls_.push_back({.first = first, .columns = kBf16Positions});
    return;
  }
  const int together = 2 * out.width <= most ? 2 : 1;
  const int pieces = (out.width + most - 1) / most;
  for (int y = 0; y < out.height; y += together) {
    const int rows = std::min(together, out.height - y);
    for (int piece = 0; piece < pieces; ++piece) {
      const int begin = out.width * piece / pieces, end = out.width * (piece + 1) / pieces;
      calls_.push_back({y * pitch + begin, end - begin, rows, pitch});
    }
  }
}

void Bf16ConvolutionLayer::MakeBlocks(const BlockShape& block, Floats bias) {
  const int group_in = block.in_channels / block.groups;
  const int group_out = block.out_channels / block.groups;
  bias_.resize(static_cast<size_t>(LineBlocks(block.out_channels)) * kLineChannels);
  std::copy(bias.begin(), bias.end(), bias_.begin());
  size_t weights = 0;
  for (int channel = 0; channel < block.out_channels; channel += kLineChannels) {
    Block made;
    made.channels = std::min(kLineChannels, block.out_channels - channel);
    // A block of output channels may span several groups; it reads the input channels of all of them.
    const int first_group = channel / group_out;
    const int last_group = (channel + made.channels - 1) / group_out;
    made.first_in_block = first_ ? 0 : first_group * group_in / kLineChannels;
    const int end = first_ ? kWindowValues : (last_group + 1) * group_in;
    made.in_blocks = LineBlocks(end) - made.first_in_block;
    made.last_channels = end - (LineBlocks(end) - 1) * kLineChannels;
    made.bias = &bias_[channel];
    const size_t size =
        static_cast<size_t>(made.in_blocks) * convolution_.taps * convolution_.weight_parts * kBf16TapWeights;
    made.weight_lines = size / kLineChannels;
    weights += size;
    blocks_.push_back(made);
  }
  weight_ = HugeArray<Bf16>(weights);
  const Bf16* weight = weight_.data();
  for (Block& made : blocks_) {
    made.weight = weight;
    weight += made.weight_lines * kLineChannels;
  }
}

void Bf16ConvolutionLayer::Pack(const BlockShape& block, Floats weight) {
  const int group_in = block.in_channels / block.groups;
  const int group_out = block.out_channels / block.groups;
  const int parts = convolution_.weight_parts;
  const auto round = [](float value) { return ToFloat(ToBf16(value)); };
  float rounded[9];
  for (int channel = 0; channel < block.out_channels; ++channel) {
    const Block& made = blocks_[channel / kLineChannels];
    const int column = channel % kLineChannels;
    Bf16* const of_column = weight_.data() + (made.weight - weight_.data()) +
                            column / 16 * (kBf16TapWeights / 2) + column % 16 * 2;
    for (int i = 0; i < group_in; ++i) {
      const float* const kernel = &weight[(static_cast<size_t>(channel) * group_in + i) * 9];
      if (parts == 1) {
        RoundKernel(kernel, rounded, round);
      } else {
        std::transform(kernel, kernel + 9, rounded, round);
      }
      const int in_channel = channel / group_out * group_in + i;
      for (int tap = 0; tap < 9; ++tap) {
        // Windows (bf16_input.h) form a single block of input channels with a single tap.
        const int value = first_ ? tap * 3 + in_channel : in_channel - made.first_in_block * kLineChannels;
        const size_t step = first_ ? 0 : value / kLineChannels * 9 + tap;
        Bf16* const to =
            of_column + step * parts * kBf16TapWeights + value % kLineChannels / 2 * 32 + value % 2;
        to[0] = ToBf16(rounded[tap]);
        if (parts == 2) to[kBf16TapWeights] = ToBf16(kernel[tap] - rounded[tap]);
      }
    }
  }
}

void Bf16ConvolutionLayer::Run(ThreadPool& pool, int images, const Bf16Maps& in, const Bf16Maps& out,
                               bool relu) const {
  Bf16Convolution convolution = convolution_;
  convolution.in_block = in.block_stride();
  convolution.in_part = in.part_stride();
  convolution.in_parts = in.parts;
  convolution.out_part = out.part_stride();
  convolution.out_parts = out.parts;
  convolution.relu = relu;
  // Work is divided among threads by position, or, where the weights are larger than the input maps, by block
  // of output channels, so that every weight is read by one thread only.
  const size_t calls = images * calls_.size();
  const bool by_blocks = weight_.size() > images * in.image_stride();
  const size_t count = by_blocks ? calls * blocks_.size() : calls;
  pool.Run(count, [&](const ThreadPool::Share& share) {
    RunCalls(convolution, images, in, out, by_blocks, share);
    const size_t planes = static_cast<size_t>(images) * out.parts * out.blocks;
    for (size_t plane = planes * share.begin / count; plane < planes * share.end / count; ++plane) {
      Bf16* const lines = out.data + plane * out.block_stride();
      for (const int line : border_)
        std::fill_n(lines + static_cast<size_t>(line) * kLineChannels, kLineChannels, Bf16{});
    }
  });
}

// A thread's share. Calls are numbered from the first image's on, of one block or, by blocks, of one block
// after the other.
void Bf16ConvolutionLayer::RunCalls(const Bf16Convolution& convolution, int images, const Bf16Maps& in,
                                    const Bf16Maps& out, bool by_blocks,
                                    const ThreadPool::Share& share) const {
  const size_t calls = images * calls_.size();
  const size_t most_together =
      std::max<size_t>(1, kInputInCache / (in.image_stride() * sizeof(Bf16) / calls_.size()));
  Bf16Waiting waiting;
  kernels_.begin();
  for (size_t start = 0; start < calls; start += most_together) {
    const size_t end = std::min(start + most_together, calls);
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const size_t of_block = by_blocks ? b * calls : 0;
      const auto in_share = [&](size_t index) {
        return std::clamp(index, of_block + start, of_block + end) - of_block;
      };
      RunBlock(convolution, b, in_share(share.begin), in_share(share.end), in, out, waiting);
    }
  }
  kernels_.end(waiting);
}

// Calls `first` to `last` of a block, each of which fetches an equal part of the next block's weights.
void Bf16ConvolutionLayer::RunBlock(const Bf16Convolution& convolution, size_t index, size_t first,
                                    size_t last, const Bf16Maps& in, const Bf16Maps& out,
                                    Bf16Waiting& waiting) const {
  if (first == last) return;
  const Block& block = blocks_[index];
  const Block& next = blocks_[(index + 1) % blocks_.size()];
  const size_t part = DivideUp(next.weight_lines, last - first);
  for (size_t call = first; call < last; ++call) {
    const size_t image = call / calls_.size();
    const size_t fetched = std::min((call - first) * part, next.weight_lines);
    kernels_.convolve(convolution, block, calls_[call % calls_.size()],
                      in.image(image).data + block.first_in_block * in.block_stride(),
                      out.image(image).data + index * out.block_stride(), to_.data(),
                      next.weight + fetched * kLineChannels,
                      static_cast<int>(std::min(part, next.weight_lines - fetched)), waiting);
  }
}

}  // namespace repvgg::cpu
