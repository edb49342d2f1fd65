#include "cuda/winograd_f2.h"

#include <cstring>

#include "cuda/formats.h"
#include "cuda/winograd_f2_family.h"

namespace repvgg::cuda {
namespace {

constexpr int kPositions = 16;

const WinogradFamily& Family(Precision precision) {
  if (precision == Precision::kFp16) return kWinogradF2Fp16;
  return precision == Precision::kBf16 ? kWinogradF2Bf16 : kWinogradF2Fp32;
}

// G w G^T
void TransformKernel(const float* w, double (&u)[kPositions]) {
  constexpr double kG[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      double sum = 0;
      for (int tap = 0; tap < 9; ++tap) sum += kG[i][tap / 3] * w[tap] * kG[j][tap % 3];
      u[i * 4 + j] = sum;
    }
  }
}

}  // namespace

std::span<const TileShape> WinogradF2TileTable(Precision precision) { return Family(precision).tiles; }

bool WinogradF2Fits(const Convolution& layer, Precision precision) {
  const int multiple = precision == Precision::kFp32 ? 4 : 8;
  return layer.stride == 1 && layer.group_in() % multiple == 0 && layer.group_out() % multiple == 0;
}

std::vector<unsigned char> PackWinogradF2(const Convolution& layer, const float* weight,
                                          Precision precision) {
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const int depth = Family(precision).depth, steps = DivideUp(group_in, depth);
  const int size = precision == Precision::kFp32 ? 4 : 2;
  std::vector<unsigned char> packed(static_cast<size_t>(layer.groups) * steps * kPositions * depth *
                                    group_out * size);
  for (int k = 0; k < layer.out_channels; ++k) {
    for (int c = 0; c < group_in; ++c) {
      double u[kPositions];
      TransformKernel(weight + (static_cast<size_t>(k) * group_in + c) * 9, u);
      for (int p = 0; p < kPositions; ++p) {
        const size_t block = (static_cast<size_t>(k / group_out) * steps + c / depth) * kPositions + p;
        const float value = static_cast<float>(u[p] / InputScale(precision));
        if (precision == Precision::kFp32) {
          // Rows of output channels.
          const size_t at = (block * depth + c % depth) * group_out + k % group_out;
          std::memcpy(&packed[at * 4], &value, 4);
        } else {
          // Rows of input channels.
          const size_t at = (block * group_out + k % group_out) * depth + c % depth;
          const uint16_t bits =
              precision == Precision::kFp16 ? FloatToHalfBits(value) : FloatToBFloat16Bits(value);
          std::memcpy(&packed[at * 2], &bits, 2);
        }
      }
    }
  }
  return packed;
}

cudaError_t LaunchWinogradF2(const Convolution& layer, Precision precision, int tile, cudaStream_t stream) {
  return Family(precision).launch[tile](layer, stream);
}

}  // namespace repvgg::cuda
