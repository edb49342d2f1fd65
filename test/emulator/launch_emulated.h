// The emulator's half of cuda/launch.cuh.
#pragma once

#include <tuple>

#include "test/emulator/cuda_emulated.h"

namespace repvgg::cuda {

template <typename... Parameters>
int MachineCode(void (*)(Parameters...)) {
  return REPVGG_ARCH / 10;
}

template <typename... Parameters, typename... Arguments>
cudaError_t LaunchAs(bool overlapped, int cluster, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                     size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
  constexpr unsigned kMost = 65535;  // In any dimension but the first.
  if (grid.y > kMost || grid.z > kMost) return cudaErrorInvalidConfiguration;
  const std::tuple<Parameters...> copies{static_cast<Parameters>(arguments)...};
  return emulator::Submit(stream, [=] {
    emulator::Run(
        {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes,
        [&] { std::apply(kernel, copies); }, overlapped, cluster);
  });
}

template <typename... Parameters>
bool CanOverlap(void (*)(Parameters...)) {
  return true;
}

// Two at a time, so that persistent kernels have several tiles to do.
template <typename... Parameters>
cudaError_t CountClusters(void (*)(Parameters...), int, dim3, size_t, int* clusters) {
  *clusters = 2;
  return cudaSuccess;
}

}  // namespace repvgg::cuda
