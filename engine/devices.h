// What a build and a machine have, as `doctor` and `bench` tell it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace repvgg {

struct CpuDescription {
  std::vector<std::string> instruction_sets;  // Those with kernels, best first.
  std::string bf16;                           // The instructions for bf16; empty where there are none.
};

struct CudaDevice {
  int index = 0;
  std::string name;
  std::string compute_capability;  // "9.0"
  int architecture = 0;            // 90
  size_t memory_bytes = 0;
  int multiprocessors = 0;
  size_t l2_bytes = 0;
  std::string problem;  // Why this build's kernels cannot run on it; otherwise empty.
};

struct CudaStatus {
  bool built = false;  // Whether this build has a CUDA backend; otherwise the rest is empty.
  std::vector<CudaDevice> devices;
  int runtime_version = 0;  // 12040 is 12.4.
  int driver_version = 0;   // The latest CUDA version that the driver supports; 0 without a driver.
  std::string error;        // The runtime's name and text of an error; otherwise empty.
};

// The counters of a GPU; nothing where they cannot be read.
struct CudaCounters {
  std::optional<uint64_t> memory_used;  // Bytes in use on the device, by all processes.
  std::optional<uint64_t> millijoules;  // Since the driver was loaded; from Volta on.
};

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
