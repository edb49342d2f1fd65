// The weight transform u = G w G^T of Winograd convolution F(m x m, 3x3) (Lavin and Gray, arXiv 1509.09308).
// F(2x2) uses the interpolation points 0, 1, -1 and infinity; F(4x4) uses 0, +-sqrt(1/2), +-sqrt(2) and
// infinity, whose rounding error is half that of the usual 0, +-1, +-2.
#pragma once

#include <cmath>

namespace repvgg {

inline constexpr int kLargestWinogradSide = 6;

// One dimension, u = G g, for `tile` 2 or 4. A point's row of G holds its powers divided by the product of
// its differences from the other finite points.
template <typename Value>
void TransformWeight(int tile, const Value* g, Value* u) {
  if (tile == 2) {
    u[0] = g[0];
    u[1] = (g[0] + g[1] + g[2]) / 2;
    u[2] = (g[0] - g[1] + g[2]) / 2;
    u[3] = g[2];
    return;
  }
  const double a = std::sqrt(0.5);
  const double b = std::sqrt(2.0);
  u[0] = g[0];
  u[1] = -(g[0] + a * g[1] + 0.5 * g[2]) / 1.5;
  u[2] = -(g[0] - a * g[1] + 0.5 * g[2]) / 1.5;
  u[3] = (g[0] + b * g[1] + 2.0 * g[2]) / 6.0;
  u[4] = (g[0] - b * g[1] + 2.0 * g[2]) / 6.0;
  u[5] = g[2];
}

// Transforms a 3x3 kernel for tiles of `rows` x `columns` outputs into the first rows + 2 rows and columns +
// 2 columns of `u`. Value is double or a vector of doubles.
template <typename Weight, typename Value>
void TransformKernel(int rows, int columns, const Weight* w,
                     Value (&u)[kLargestWinogradSide][kLargestWinogradSide]) {
  Value half[kLargestWinogradSide][3];
  for (int x = 0; x < 3; ++x) {
    const Value column[3] = {w[x], w[3 + x], w[6 + x]};
    Value transformed[kLargestWinogradSide];
    TransformWeight(rows, column, transformed);
    for (int y = 0; y < rows + 2; ++y) half[y][x] = transformed[y];
  }
  for (int y = 0; y < rows + 2; ++y) TransformWeight(columns, half[y], u[y]);
}

}  // namespace repvgg
