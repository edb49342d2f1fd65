#include "cpu/winograd.h"

#include <algorithm>
#include <cmath>

namespace repvgg::cpu {
namespace {

// One dimension of the weight transform G g for the points 0, a, -a, b, -b and infinity: row j holds the
// powers of its point over the product of its differences from the other finite points, which are 1, -3/2,
// -3/2, 6 and 6.
void TransformWeight(const double* g, double* u) {
  const double a = std::sqrt(0.5);
  const double b = std::sqrt(2.0);
  u[0] = g[0];
  u[1] = -(g[0] + a * g[1] + 0.5 * g[2]) / 1.5;
  u[2] = -(g[0] - a * g[1] + 0.5 * g[2]) / 1.5;
  u[3] = (g[0] + b * g[1] + 2.0 * g[2]) / 6.0;
  u[4] = (g[0] - b * g[1] + 2.0 * g[2]) / 6.0;
  u[5] = g[2];
}

// u[row][column] = G w G^T
void TransformKernel(const float* w, double (*u)[kWinogradSide]) {
  double half[kWinogradSide][3];
  for (int x = 0; x < 3; ++x) {
    const double column[3] = {w[x], w[3 + x], w[6 + x]};
    double transformed[kWinogradSide];
    TransformWeight(column, transformed);
    for (int y = 0; y < kWinogradSide; ++y) half[y][x] = transformed[y];
  }
  for (int y = 0; y < kWinogradSide; ++y) TransformWeight(half[y], u[y]);
}

ptrdiff_t InputPosition(const WinogradConvolution& convolution) {
  return static_cast<ptrdiff_t>(kTilesAtOnce) * convolution.in_channels + kPositionPadding;
}

ptrdiff_t ProductPosition(const WinogradConvolution& convolution, int block_width) {
  return static_cast<ptrdiff_t>(kTilesAtOnce) * convolution.blocks * block_width + kPositionPadding;
}

}  // namespace

PackedWinograd PackWinograd(const float* weight, const float* bias, int in_channels, int out_channels,
                            int groups, int block_width) {
  const int group_in = in_channels / groups;
  const int group_out = out_channels / groups;
  const int blocks = (group_out + block_width - 1) / block_width;
  const size_t position_size = static_cast<size_t>(group_in) * block_width;
  const size_t weight_size = groups * blocks * kWinogradPositions * position_size;
  PackedWinograd packed{{in_channels, out_channels, groups, group_in, group_out, blocks},
                        HugeArray(weight_size + static_cast<size_t>(groups) * blocks * block_width)};
  float* packed_bias = packed.storage.data() + weight_size;
  for (int channel = 0; channel < out_channels; ++channel) {
    const int k = channel % group_out;
    const size_t block = static_cast<size_t>(channel / group_out) * blocks + k / block_width;
    const int lane = k % block_width;
    if (bias != nullptr) packed_bias[block * block_width + lane] = bias[channel];
    float* to = packed.storage.data() + block * kWinogradPositions * position_size + lane;
    for (int c = 0; c < group_in; ++c) {
      double u[kWinogradSide][kWinogradSide];
      TransformKernel(weight + (static_cast<size_t>(channel) * group_in + c) * 9, u);
      for (int p = 0; p < kWinogradPositions; ++p) {
        to[p * position_size + static_cast<size_t>(c) * block_width] =
            static_cast<float>(u[p / kWinogradSide][p % kWinogradSide]);
      }
    }
  }
  packed.weight = packed.storage.data();
  packed.bias = packed_bias;
  return packed;
}

size_t WinogradScratch(const WinogradConvolution& convolution, int block_width) {
  return kWinogradPositions * (InputPosition(convolution) + ProductPosition(convolution, block_width));
}

void RunWinograd(const KernelTable& kernels, const WinogradConvolution& convolution, const WinogradMaps& maps,
                 size_t first_tile, size_t last_tile, bool relu, float* scratch) {
  const int width = kernels.block_width;
  const ptrdiff_t v_position = InputPosition(convolution);
  const ptrdiff_t product_tile = static_cast<ptrdiff_t>(convolution.blocks) * width;
  const ptrdiff_t product_position = ProductPosition(convolution, width);
  float* v = scratch;
  float* product = scratch + kWinogradPositions * v_position;
  const size_t position_size = static_cast<size_t>(convolution.group_in) * width;

  const size_t tiles = last_tile - first_tile;
  const size_t parts = (tiles + kTilesAtOnce - 1) / kTilesAtOnce;
  for (size_t part = 0; part < parts; ++part) {
    const int first = static_cast<int>(first_tile + tiles * part / parts);
    const int count = static_cast<int>(first_tile + tiles * (part + 1) / parts) - first;
    kernels.winograd_input(maps, convolution.in_channels, first, count, v, v_position);
    for (int group = 0; group < convolution.groups; ++group) {
      const size_t first_block = static_cast<size_t>(group) * convolution.blocks;
      // Positions outside, blocks inside: one position's tiles stay in cache for all blocks.
      for (int p = 0; p < kWinogradPositions; ++p) {
        for (int block = 0; block < convolution.blocks; ++block) {
          const float* u =
              convolution.weight + ((first_block + block) * kWinogradPositions + p) * position_size;
          kernels.winograd_multiply(v + p * v_position + group * convolution.group_in,
                                    convolution.in_channels, convolution.group_in, count, u,
                                    product + p * product_position + block * width, product_tile);
        }
      }
      kernels.winograd_output(product, product_position, product_tile, maps, convolution.out_channels, first,
                              count, group * convolution.group_out, convolution.group_out,
                              convolution.bias + first_block * width, relu);
    }
  }
}

}  // namespace repvgg::cpu
