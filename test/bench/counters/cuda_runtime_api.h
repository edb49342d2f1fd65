// What cuda/counters.cc uses of CUDA's, of one GPU that there is not.
#pragma once

#include <cstddef>
#include <cstdio>

typedef int cudaError_t;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaSetDevice(int index) { return index == 0 ? cudaSuccess : 101; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = 3000;
  *total = 8000;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int index) {
  std::snprintf(text, length, "0000:3b:00.0");
  return index == 0 ? cudaSuccess : 101;
}
