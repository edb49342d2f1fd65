#include "cuda/winograd_f4.h"

#include <algorithm>

#include "cuda/candidates.h"
#include "engine/winograd_weights.h"

namespace repvgg::cuda {
namespace {

constexpr int kSide = kLargestWinogradSide;
constexpr int kPositions = kSide * kSide;
constexpr int kStepValues = 16;  // Of fp32_tile.cuh.

// Of one image: its transformed inputs and the products.
size_t ImageBytes(const Convolution& layer) {
  const size_t tiles = static_cast<size_t>(DivideUp(layer.height, 4)) * DivideUp(layer.width, 4);
  return kPositions * tiles * (layer.in_channels + layer.out_channels) * sizeof(float);
}

}  // namespace

bool WinogradF4Fits(const Convolution& layer) {
  return layer.stride == 1 && layer.group_in() % 4 == 0 && layer.group_out() % 4 == 0 &&
         ImageBytes(layer) <= kWorkspaceBytes;
}

int WinogradF4SliceImages(const Convolution& layer) {
  return static_cast<int>(std::min<size_t>(layer.batch, kWorkspaceBytes / ImageBytes(layer)));
}

size_t WinogradF4Workspace(const Convolution& layer) {
  return WinogradF4SliceImages(layer) * ImageBytes(layer);
}

std::vector<float> PackWinogradF4(const Convolution& layer, const float* weight) {
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const size_t depth = DivideUp(group_in, kStepValues) * kStepValues;
  std::vector<float> packed(layer.groups * kPositions * depth * group_out);
  for (int k = 0; k < layer.out_channels; ++k) {
    for (int c = 0; c < group_in; ++c) {
      double u[kSide][kSide];
      TransformKernel(4, 4, weight + (static_cast<size_t>(k) * group_in + c) * 9, u);
      for (int p = 0; p < kPositions; ++p) {
        const size_t row = (static_cast<size_t>(k / group_out) * kPositions + p) * depth + c;
        packed[row * group_out + k % group_out] = static_cast<float>(u[p / kSide][p % kSide]);
      }
    }
  }
  return packed;
}

}  // namespace repvgg::cuda
