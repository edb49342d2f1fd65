// Rounds the weights of 3x3 kernels to a shorter format while nearly preserving the sum of each kernel.
//
// If the nine weights of a kernel (one input and one output channel) are rounded to nearest independently,
// the sum of their errors is random. Inputs are non-negative after a ReLU and similar in neighbouring pixels,
// so this sum acts as an offset of the whole output map, whereas the other components of the error mostly
// cancel. Therefore the error so far is distributed evenly over the weights not yet rounded, in order of
// decreasing magnitude: the last ones, with the finest steps, determine what remains. This is what GPTQ
// (Frantar et al., arXiv 2210.17323) amounts to for inputs that are equal in all nine pixels, and it needs no
// calibration data. docs/cpu.md shows its effect.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace repvgg {

// `weight` and `rounded` have nine values. `round` gives the nearest float that the format holds.
template <class Round>
void RoundKernel(const float* weight, float* rounded, Round round) {
  // As bits, magnitudes are in the same order, and NaN has a place in it too.
  uint32_t magnitude[9];
  for (int i = 0; i < 9; ++i) magnitude[i] = std::bit_cast<uint32_t>(weight[i]) & 0x7fffffff;
  // By counting, which has no branches that processors would have to predict.
  int order[9];
  for (int i = 0; i < 9; ++i) {
    int place = 0;
    for (int j = 0; j < 9; ++j) {
      place += j < i ? magnitude[j] >= magnitude[i] : magnitude[j] > magnitude[i];
    }
    order[place] = i;
  }
  double rest = 0;  // Sum of the weights rounded so far minus the sum of their rounded values.
  for (int i = 0; i < 9; ++i) {
    const int tap = order[i];
    rounded[tap] = round(static_cast<float>(weight[tap] + rest / (9 - i)));
    rest += static_cast<double>(weight[tap]) - rounded[tap];
    if (!std::isfinite(rest)) rest = 0;  // Keeps a non-finite weight from spoiling the others.
  }
}

}  // namespace repvgg
