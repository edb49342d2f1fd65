// Prints what cuda/counters.cc reads of two GPUs, of which there is one, and of the first one again.
#include <cstdio>

#include "cuda/counters.h"

int main() {
  for (const int index : {0, 1, 0}) {
    const auto [memory, millijoules] = repvgg::cuda::ReadCounters(index);
    std::printf("%d:", index);
    if (memory) std::printf(" %zu bytes", *memory);
    if (millijoules) std::printf(" %llu mJ", static_cast<unsigned long long>(*millijoules));
    std::printf("\n");
  }
}
