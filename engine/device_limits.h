#pragma once

#include <optional>
#include <string>

namespace repvgg {

// The measured peak rates of a device, which `repvgg bench` compares its results with. A multiply-add counts
// as two operations.
struct DeviceLimits {
  std::string instruction_set;          // "avx512", "avx2", "neon" or "baseline"; of a GPU "sm_90, wgmma".
  double fma_gflops = 0;                // fp32 multiply-adds on registers, by the whole device.
  std::optional<double> matrix_gflops;  // Matrix instructions, where the device has them for the precision.
  // The same for one CPU thread, per second of its CPU time: nearly independent of what else the machine
  // runs.
  std::optional<double> fma_per_cpu_second, matrix_per_cpu_second;
  double copy_gbps = 0;  // Copies of large buffers: bytes read plus bytes written. 0 if not measured.
  std::optional<double> l2_gbps;  // Of a GPU: reads from its second-level cache.
};

}  // namespace repvgg
