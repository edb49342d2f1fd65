// The part of the CUDA runtime that the backend uses, for the host compiler. Memory comes from Allocate, so
// that kernels are checked; streams, events and graphs keep lists of work.
//
// A stream runs nothing before it must: before the host waits for it, or for an event behind it, or before
// another stream whose work waits for such an event runs that work. Whoever forgets to wait therefore reads
// what was there before. Streams that RuntimeSettings::eager names run their work at once, as far as it waits
// for nothing: one that overwrites what another has yet to read is found so. Copies on the default stream,
// for which others do not wait, end when the host waits for it.
//
// There may be several devices. Each thread has a current one; launches on a stream of another are refused.
//
// While a graph is recorded, calls that may wait or allocate are refused and spoil the recording: in the
// thread that records or, if it records in the global mode, in all threads.
#pragma once

#include <cstddef>
#include <functional>

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
};

namespace repvgg::emulator {

struct StreamState;
struct EventState;
struct GraphState;

struct RuntimeSettings {
  int devices = 1;
  int capability = 90;          // Of each device: 9.0.
  unsigned eager = 0;           // Bit i: streams number i, i + 3, ... in the order in which they were made.
  size_t memory_limit = 0;      // Of each device, in bytes; 0 for none.
  int failing_device = 0;       // The device of failing_launch.
  int failing_launch = -1;      // The launch, counted from now, from which on every call fails.
  int refused_launch = -1;      // The launch, counted from now, that is refused, and nothing else.
  bool taken = false;           // By another process.
  void (*refresh)() = nullptr;  // Called by cudaSetDevice, before it answers: may change these settings.
};
RuntimeSettings& runtime_settings();

// Memory of all devices in use now, and at most since the last call of ResetPeakMemory.
size_t DeviceMemoryInUse();
size_t PeakDeviceMemory();
void ResetPeakMemory();
// Launches, copies and fills that ran; graphs that were made.
int GraphsMade();
// Calls that would make a context for the device, had it none.
int CallsOn(int device);

// Runs `work` on the stream (at once if it is null), or adds it to the graph that is being recorded.
cudaError_t Submit(StreamState* stream, std::function<void()> work);

}  // namespace repvgg::emulator

using cudaStream_t = repvgg::emulator::StreamState*;
using cudaEvent_t = repvgg::emulator::EventState*;
using cudaGraph_t = repvgg::emulator::GraphState*;
using cudaGraphExec_t = repvgg::emulator::GraphState*;

enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
inline constexpr unsigned cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDefault = 0;
inline constexpr unsigned cudaEventBlockingSync = 1;
inline constexpr unsigned cudaEventDisableTiming = 2;

enum cudaDeviceAttr {
  cudaDevAttrL2CacheSize,
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
};

struct cudaDeviceProp {
  char name[256];
  int major, minor;
  size_t totalGlobalMem;
  int multiProcessorCount;
  int l2CacheSize;
};

#define CUDART_VERSION 13000

cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetPCIBusId(char* name, int bytes, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetLastError();
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);

cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
// Of the host's clock, as work runs here.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance);
