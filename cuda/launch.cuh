// How kernels are launched. What differs in the emulator comes from test/emulator/launch_emulated.h.
#pragma once

#include "cuda/ptx.cuh"

namespace repvgg::cuda {

// Of the current device.
inline cudaError_t DeviceAttribute(cudaDeviceAttr attribute, int* value) {
  int device = 0;
  if (const auto error = cudaGetDevice(&device); error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(value, attribute, device);
}

}  // namespace repvgg::cuda

#ifdef REPVGG_EMULATOR
#include "test/emulator/launch_emulated.h"
#else

#include <cstdlib>
#include <cstring>

namespace repvgg::cuda {

// The architecture, 90 for 9.0, whose code of a kernel this device runs: REPVGG_ARCH / 10 in it. 0 on errors.
template <typename... Parameters>
int MachineCode(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess ? attributes.ptxVersion : 0;
}

// Lets blocks of the kernel have more than 48 KB of shared memory, which has to be asked for, per kernel and
// device: all that there is, so that threads that launch a kernel with different sizes do not take it from
// each other. Asking again costs next to nothing, and remembering would be hidden state.
template <typename... Parameters>
cudaError_t AllowSharedMemory(void (*kernel)(Parameters...)) {
  int most = 0;
  const auto error = DeviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, &most);
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
}

inline cudaLaunchAttribute ClusterAttribute(int blocks) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
  return attribute;
}

// kernel<<<grid, block, shared_bytes, stream>>>(arguments...), of which each `cluster` blocks are one.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchAs(bool overlapped, int cluster, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                     size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
  if (shared_bytes > 48 * 1024) {
    if (const cudaError_t error = AllowSharedMemory(kernel); error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute attributes[2] = {};
  config.attrs = attributes;
  if (overlapped) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) attributes[config.numAttrs++] = ClusterAttribute(cluster);
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

// Whether kernels may start while those ahead of them end: on Hopper, whose machine code waits for them, and
// with drivers that know such launches in graphs (since CUDA 12.3). Later GPUs could do it too; recording it
// has been reported to fail there. Not with REPVGG_OVERLAP=off in the environment.
template <typename... Parameters>
bool CanOverlap(void (*kernel)(Parameters...)) {
  static const bool off = [] {
    const char* const wanted = std::getenv("REPVGG_OVERLAP");
    return wanted != nullptr && std::strcmp(wanted, "off") == 0;
  }();
  cudaFuncAttributes code;
  int driver = 0;
  return !off && cudaDriverGetVersion(&driver) == cudaSuccess && driver >= 12030 &&
         cudaFuncGetAttributes(&code, kernel) == cudaSuccess && code.ptxVersion == 90 &&
         code.binaryVersion == 90;
}

// How many clusters of `cluster` blocks the device has room for at a time. The multiprocessors of a part of
// the chip may be no multiple of `cluster`, so that not all of them are used.
template <typename... Parameters>
cudaError_t CountClusters(void (*kernel)(Parameters...), int cluster, dim3 block, size_t shared_bytes,
                          int* clusters) {
  if (const auto error = AllowSharedMemory(kernel); error != cudaSuccess) return error;
  cudaLaunchAttribute attribute = ClusterAttribute(cluster);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(cluster);
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaOccupancyMaxActiveClusters(clusters, kernel, &config);
}

}  // namespace repvgg::cuda

#endif  // REPVGG_EMULATOR

namespace repvgg::cuda {

template <typename... Parameters, typename... Arguments>
cudaError_t Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, const Arguments&... arguments) {
  return LaunchAs(false, 1, kernel, grid, block, shared_bytes, stream, arguments...);
}

// The same for a kernel that calls WaitForPreviousKernel: it may start while the one ahead of it ends, if
// CanOverlap.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchOverlapped(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                             cudaStream_t stream, const Arguments&... arguments) {
  return LaunchAs(CanOverlap(kernel), 1, kernel, grid, block, shared_bytes, stream, arguments...);
}

// The same for as many clusters as the device has room for, but `most` at most.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchClusters(void (*kernel)(Parameters...), int cluster, int most, dim3 block,
                           size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
  int clusters = 0;
  const auto error = CountClusters(kernel, cluster, block, shared_bytes, &clusters);
  if (error != cudaSuccess) return error;
  if (clusters == 0) return cudaErrorInvalidConfiguration;
  return LaunchAs(CanOverlap(kernel), cluster, kernel, dim3((clusters < most ? clusters : most) * cluster),
                  block, shared_bytes, stream, arguments...);
}

}  // namespace repvgg::cuda
