// RAII owners of CUDA's objects, and its error codes as exceptions. Destruction never throws: on a lost
// device the calls fail, and nothing is left to free.
#pragma once

#include <memory>
#include <type_traits>

#include "cuda/runtime.h"

namespace repvgg::cuda {

inline constexpr const char* kOutOfMemory = "ERR_OUT_OF_MEMORY";
inline constexpr const char* kDeviceLost = "ERR_DEVICE_LOST";
inline constexpr const char* kDeviceRefused = "ERR_DEVICE_REFUSED";

// Throws Error{ERR_OUT_OF_MEMORY} or Error{ERR_DEVICE_REFUSED}, after which the device is still usable;
// Error{ERR_DEVICE_LOST} after errors that it does not recover from in this process (a kernel that failed, a
// device that fell off the bus); Error{ERR_DEVICE_UNAVAILABLE} if another process has exclusive use of it.
// `doing` completes "while ...".
void Check(cudaError_t error, const char* doing);

// Which graphs that are being recorded this thread heeds, until the end of the scope: calls that may allocate
// or wait are refused and spoil them. By default those are its own and others' that are recorded in the
// global mode.
class CaptureMode {
 public:
  explicit CaptureMode(cudaStreamCaptureMode mode) : other_(mode) {
    cudaThreadExchangeStreamCaptureMode(&other_);
  }
  ~CaptureMode() { cudaThreadExchangeStreamCaptureMode(&other_); }
  CaptureMode(const CaptureMode&) = delete;
  CaptureMode& operator=(const CaptureMode&) = delete;

 private:
  cudaStreamCaptureMode other_;
};

template <typename Handle, cudaError_t (*kDestroy)(Handle)>
struct Destroyer {
  using pointer = Handle;
  void operator()(Handle handle) const {
    const CaptureMode own(cudaStreamCaptureModeThreadLocal);  // Also where a destructor runs on any thread.
    kDestroy(handle);
  }
};
template <typename Handle, cudaError_t (*kDestroy)(Handle)>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroyer<Handle, kDestroy>>;

using DeviceMemory = Owned<void*, cudaFree>;
using PinnedMemory = Owned<void*, cudaFreeHost>;
using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

// For 0 bytes: null, and no error.
DeviceMemory AllocateDevice(size_t bytes);
PinnedMemory AllocatePinned(size_t bytes);
// Returns a copy on the device, complete on return.
DeviceMemory Upload(const void* from, size_t bytes);
Stream MakeStream();
// What the event is for: another stream waits for it; a thread waits for it (Wait); or cudaEventElapsedTime.
enum class EventUse { kStream, kThread, kTime };
Event MakeEvent(EventUse use);
// Waits for an event of EventUse::kThread. Polls for a short time, then sleeps, which leaves the core to
// image decoding; waking up takes some ten microseconds.
void Wait(const Event& event, const char* doing);

// Captures what `enqueue` puts on the stream as a graph. It must neither allocate nor wait.
template <typename Enqueue>
Graph CaptureGraph(cudaStream_t stream, Enqueue enqueue) {
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a graph");
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  Check(cudaStreamEndCapture(stream, &graph), "recording a graph");
  const Owned<cudaGraph_t, cudaGraphDestroy> owner(graph);
  cudaGraphExec_t instance = nullptr;
  Check(cudaGraphInstantiate(&instance, graph, 0), "instantiating a graph");
  return Graph(instance);
}

}  // namespace repvgg::cuda
