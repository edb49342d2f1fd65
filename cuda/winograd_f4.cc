#include "cuda/winograd_f4.h"

#include <cstring>

#include "engine/winograd_weights.h"

namespace repvgg::cuda {
namespace {

constexpr int kSide = kLargestWinogradSide;
constexpr int kPositions = kSide * kSide;
constexpr int kStepValues = 16;  // As in fp32_tile.cuh.

}  // namespace

size_t WinogradF4Workspace(const Convolution& layer) {
  const size_t tiles =
      static_cast<size_t>(layer.batch) * DivideUp(layer.height, 4) * DivideUp(layer.width, 4);
  return kPositions * tiles * (layer.in_channels + layer.out_channels) * sizeof(float);
}

bool WinogradF4Fits(const Convolution& layer) {
  return layer.stride == 1 && layer.group_in() % 4 == 0 && layer.group_out() % 4 == 0 &&
         WinogradF4Workspace(layer) <= layer.batch * kWorkspaceBytes;
}

std::vector<unsigned char> PackWinogradF4(const Convolution& layer, const float* weight) {
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const size_t depth = DivideUp(group_in, kStepValues) * kStepValues;
  std::vector<unsigned char> packed(layer.groups * kPositions * depth * group_out * sizeof(float));
  for (int k = 0; k < layer.out_channels; ++k) {
    for (int c = 0; c < group_in; ++c) {
      double u[kSide][kSide];
      TransformKernel(4, 4, weight + (static_cast<size_t>(k) * group_in + c) * 9, u);
      for (int p = 0; p < kPositions; ++p) {
        const size_t row = (static_cast<size_t>(k / group_out) * kPositions + p) * depth + c;
        const float value = static_cast<float>(u[p / kSide][p % kSide]);
        std::memcpy(&packed[(row * group_out + k % group_out) * sizeof value], &value, sizeof value);
      }
    }
  }
  return packed;
}

}  // namespace repvgg::cuda
