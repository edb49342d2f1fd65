#include "cuda/winograd_f4.h"

#include <algorithm>
#include <cmath>

#include "cuda/candidates.h"

namespace repvgg::cuda {
namespace {

constexpr int kSide = 6;
constexpr int kPositions = kSide * kSide;
constexpr int kStepValues = 16;  // Of fp32_tile.cuh.

// Of one image: its transformed inputs and the products.
size_t ImageBytes(const Convolution& layer) {
  const size_t tiles = static_cast<size_t>(DivideUp(layer.height, 4)) * DivideUp(layer.width, 4);
  return kPositions * tiles * (layer.in_channels + layer.out_channels) * sizeof(float);
}

// G g: the row of a point holds its powers over the product of its differences from the other finite points.
void TransformWeight(const double* g, double* u) {
  const double a = std::sqrt(0.5), b = std::sqrt(2.0);
  u[0] = g[0];
  u[1] = -(g[0] + a * g[1] + 0.5 * g[2]) / 1.5;
  u[2] = -(g[0] - a * g[1] + 0.5 * g[2]) / 1.5;
  u[3] = (g[0] + b * g[1] + 2.0 * g[2]) / 6.0;
  u[4] = (g[0] - b * g[1] + 2.0 * g[2]) / 6.0;
  u[5] = g[2];
}

// G w G^T
void TransformKernel(const float* w, double (&u)[kSide][kSide]) {
  double half[kSide][3];
  for (int x = 0; x < 3; ++x) {
    const double column[3] = {w[x], w[3 + x], w[6 + x]};
    double transformed[kSide];
    TransformWeight(column, transformed);
    for (int y = 0; y < kSide; ++y) half[y][x] = transformed[y];
  }
  for (int y = 0; y < kSide; ++y) TransformWeight(half[y], u[y]);
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
      TransformKernel(weight + (static_cast<size_t>(k) * group_in + c) * 9, u);
      for (int p = 0; p < kPositions; ++p) {
        const size_t row = (static_cast<size_t>(k / group_out) * kPositions + p) * depth + c;
        packed[row * group_out + k % group_out] = static_cast<float>(u[p / kSide][p % kSide]);
      }
    }
  }
  return packed;
}

}  // namespace repvgg::cuda
