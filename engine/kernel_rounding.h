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

#include <cmath>

namespace repvgg {

// `weight` and `rounded` have nine values. `round` gives the nearest float that the format holds.
template <class Round>
void RoundKernel(const float* weight, float* rounded, Round round) {
  int order[9];
  for (int i = 0; i < 9; ++i) {
    int at = i;
    for (; at > 0 && std::abs(weight[i]) > std::abs(weight[order[at - 1]]); --at) order[at] = order[at - 1];
    order[at] = i;
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
