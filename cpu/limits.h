// What this machine can do at best, for benchmarks to compare with. Measured, since clocks depend on the load
// and virtual machines do not say what they run on.
#pragma once

#include <optional>
#include <string>

namespace repvgg::cpu {

// In 1e9 per second.
struct Rate {
  double sum = 0;  // Over the threads.
  double per_cpu_second =
      0;  // Of one thread, while it runs: hardly less where others have the cores meanwhile.
};

// A multiply-add counts as two operations.
struct Limits {
  std::string instruction_set;  // Of `fma`: "avx512", "avx2" or "baseline".
  Rate fma;                     // fp32 multiply-adds between registers.
  std::optional<Rate> matrix;   // bf16 products on AMX tiles; empty where the processor has none.
  double copy_gbps = 0;         // memcpy of large buffers, bytes read and written, by all threads.
};

// Runs each loop for `seconds` on `threads` threads at once; the copy also needs 256 MiB. Without `copy`,
// copy_gbps stays 0.
Limits MeasureLimits(int threads, double seconds, bool copy);

}  // namespace repvgg::cpu
