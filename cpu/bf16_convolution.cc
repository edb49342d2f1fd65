#include "cpu/bf16_convolution.h"

#include "engine/kernel_rounding.h"

namespace repvgg::cpu {
namespace {

int DivideUp(int a, int b) { return (a + b - 1) / b; }

}  // namespace

Bf16ConvolutionLayer::Bf16ConvolutionLayer(const Bf16Kernels& kernels, const BlockShape& block, Floats weight,
                                           Floats bias)
    : kernels_(kernels) {
  static_cast<ConvolutionShape&>(convolution_) = MakeConvolutionShape(
      block.in_channels, block.out_channels, block.stride, block.groups, kBf16BlockWidth);
  const int groups = block.groups;
  const int group_in = convolution_.group_in;
  const int group_out = convolution_.group_out;
  const int blocks = convolution_.blocks;
  // One run of values for each row of the window, or for each tap of a group's window.
  const int runs_per_row = groups == 1 ? 1 : 3;
  const int run_length = groups == 1 ? 3 * group_in : group_in;
  for (int row = -1; row <= 1; ++row) {
    for (int run = 0; run < runs_per_row; ++run) {
      for (int i = 0; i < run_length; i += kBf16Step)
        steps_.push_back({row, (run - 1) * block.in_channels + i});
    }
  }
  const int steps = static_cast<int>(steps_.size());

  const size_t block_size = static_cast<size_t>(steps) * kBf16Step * kBf16BlockWidth;
  weight_ = HugeArray<Bf16>(groups * blocks * block_size);
  bias_.resize(static_cast<size_t>(groups) * blocks * kBf16BlockWidth);
  std::vector<float> rounded(size_t{9} * group_in);  // Of one output channel.
  for (int channel = 0; channel < block.out_channels; ++channel) {
    for (size_t at = 0; at < rounded.size(); at += 9) {
      RoundKernel(&weight[channel * rounded.size() + at], &rounded[at],
                  [](float value) { return ToFloat(ToBf16(value)); });
    }
    const size_t index =
        static_cast<size_t>(channel / group_out) * blocks + channel % group_out / kBf16BlockWidth;
    const int lane = channel % group_out % kBf16BlockWidth;
    if (!bias.empty()) bias_[index * kBf16BlockWidth + lane] = bias[channel];
    Bf16* to = weight_.data() + index * block_size + lane / 16 * (16 * kBf16Step) + lane % 16 * 2;
    for (int s = 0; s < steps; ++s, to += kBf16Step * kBf16BlockWidth) {
      const int row_step = s % (steps / 3);
      const int steps_per_run = DivideUp(run_length, kBf16Step);
      for (int i = 0; i < kBf16Step; ++i) {
        const int in_run = row_step % steps_per_run * kBf16Step + i;
        if (in_run >= run_length) break;
        const int column = groups == 1 ? in_run / group_in : row_step / steps_per_run;
        const int c = in_run % group_in;
        const int tap = s / (steps / 3) * 3 + column;
        to[i / 2 * 32 + i % 2] = ToBf16(rounded[c * 9 + tap]);
      }
    }
  }
  convolution_.steps = steps;
  convolution_.step = steps_.data();
  convolution_.weight = weight_.data();
  convolution_.bias = bias_.data();
}

void Bf16ConvolutionLayer::Run(ThreadPool& pool, Scratch&, int images, const Maps<Bf16>& in,
                               const Maps<Bf16>& out, bool relu) const {
  const size_t blocks = static_cast<size_t>(convolution_.groups) * convolution_.blocks;
  ForRowPieces(pool, images, in, out, convolution_.stride, kernels_.most_pixels, blocks, weight_.size(),
               [&](const RowPieces<Bf16>& pieces) {
                 kernels_.begin(pieces.pixels);
                 for (size_t block = 0; block < blocks; ++block) {
                   const auto [first, last] = pieces.OfBlock(block);
                   for (size_t i = first; i < last; i += 2) {
                     kernels_.convolve(convolution_, in.row_stride(), block / convolution_.blocks,
                                       block % convolution_.blocks, pieces(i),
                                       i + 1 < last ? pieces(i + 1) : Pixels<Bf16>{}, pieces.pixels, relu);
                   }
                 }
                 kernels_.end();
               });
}

}  // namespace repvgg::cpu
