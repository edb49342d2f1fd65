#include "cuda/winograd_f2.h"

#include <cstring>

#include "cuda/formats.h"
#include "engine/winograd_weights.h"

namespace repvgg::cuda {

extern const std::span<const ConvolutionTile> kWinogradF2Fp32, kWinogradF2Fp16, kWinogradF2Bf16;

namespace {

constexpr int kPositions = 16;

}  // namespace

std::span<const ConvolutionTile> WinogradF2TileTable(Precision precision) {
  if (precision == Precision::kFp16) return kWinogradF2Fp16;
  return precision == Precision::kBf16 ? kWinogradF2Bf16 : kWinogradF2Fp32;
}

bool WinogradF2Fits(const Convolution& layer, Precision precision) {
  const int multiple = precision == Precision::kFp32 ? 4 : 8;
  return layer.stride == 1 && layer.group_in() % multiple == 0 && layer.group_out() % multiple == 0;
}

std::vector<unsigned char> PackWinogradF2(const Convolution& layer, const float* weight,
                                          Precision precision) {
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const int depth = InputDepth(precision), steps = DivideUp(group_in, depth);
  const int size = ElementSize(precision);
  std::vector<unsigned char> packed(static_cast<size_t>(layer.groups) * steps * kPositions * depth *
                                    group_out * size);
  for (int k = 0; k < layer.out_channels; ++k) {
    for (int c = 0; c < group_in; ++c) {
      double u[kLargestWinogradSide][kLargestWinogradSide];
      TransformKernel(2, 2, weight + (static_cast<size_t>(k) * group_in + c) * 9, u);
      for (int p = 0; p < kPositions; ++p) {
        const size_t block = (static_cast<size_t>(k / group_out) * steps + c / depth) * kPositions + p;
        const uint32_t bits =
            FormatBits(static_cast<float>(u[p / 4][p % 4] / InputScale(precision)), precision);
        // Output channels are innermost in fp32, input channels in the other types.
        const size_t at = precision == Precision::kFp32
                              ? (block * depth + c % depth) * group_out + k % group_out
                              : (block * group_out + k % group_out) * depth + c % depth;
        std::memcpy(&packed[at * size], &bits, size);
      }
    }
  }
  return packed;
}

}  // namespace repvgg::cuda
