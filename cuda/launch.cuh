// Kernel launches. The emulator's counterpart is test/emulator/launch_emulated.h.
#pragma once

#include "cuda/ptx.cuh"

namespace repvgg::cuda {

// An attribute of the current device.
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

// The architecture (90 for 9.0) of the code that this device runs for a kernel: REPVGG_ARCH / 10 in it. 0 on
// errors.
template <typename... Parameters>
int MachineCode(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess ? attributes.ptxVersion : 0;
}

// Opts in to more than 48 KB of dynamic shared memory per block, which is a setting per kernel and device. It
// is set to the device's maximum, so that threads that launch a kernel with different sizes do not interfere.
// The call is cheap, so nothing is cached.
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

// kernel<<<grid, block, shared_bytes, stream>>>(arguments...) in clusters of `cluster` blocks; `overlapped`
// allows programmatic stream serialization.
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

// Whether the kernel can be launched with programmatic dependent launch: on Hopper, if it runs as machine
// code compiled for it, with drivers that support such launches in graphs (CUDA 12.3 and up). Later GPUs
// support it as well, but capturing it has been reported to fail there. REPVGG_OVERLAP=off in the environment
// turns it off.
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

// The number of clusters of `cluster` blocks that can be resident at a time. It may leave multiprocessors
// unused: the size of a GPC need not be a multiple of `cluster`.
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

// Launches a kernel that calls WaitForPreviousKernel: it may start while the previous one finishes, if
// CanOverlap.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchOverlapped(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                             cudaStream_t stream, const Arguments&... arguments) {
  return LaunchAs(CanOverlap(kernel), 1, kernel, grid, block, shared_bytes, stream, arguments...);
}

// Launches as many clusters as can be resident, `most` at most, overlapped like LaunchOverlapped.
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
