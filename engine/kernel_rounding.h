// Rounds the weights of 3x3 kernels to a shorter format so that the sum of each kernel stays what it was.
//
// Rounded to nearest one by one, the nine weights of a kernel (of one input and one output channel) have
// errors whose sum is random. What a kernel reads is positive behind a ReLU, and much the same in
// neighbouring pixels: that sum is then an offset of the whole output map, while the rest of the errors
// mostly cancels. So what rounding has changed so far is spread evenly over the weights not rounded yet,
// largest first, since the last ones, with the finest steps, decide what remains. This is what GPTQ (Frantar
// et al., arXiv 2210.17323) comes to for inputs that are equal in all nine pixels; it needs no data.
// docs/cpu.md has what it brings.
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
  double rest = 0;  // Of the weights rounded so far: their sum less that of what they became.
  for (int i = 0; i < 9; ++i) {
    const int tap = order[i];
    rounded[tap] = round(static_cast<float>(weight[tap] + rest / (9 - i)));
    rest += static_cast<double>(weight[tap]) - rounded[tap];
    if (!std::isfinite(rest)) rest = 0;  // A weight that is not finite shall not spoil others.
  }
}

}  // namespace repvgg
