// CUDA's objects with owners, and its error codes as exceptions. Destroying never throws: on a device that is
// lost the calls fail, and there is nothing left to free.
#pragma once

#include <memory>
#include <type_traits>

#include "cuda/runtime.h"

namespace repvgg::cuda {

inline constexpr const char* kOutOfMemory = "ERR_OUT_OF_MEMORY";
inline constexpr const char* kDeviceLost = "ERR_DEVICE_LOST";
inline constexpr const char* kDeviceRefused = "ERR_DEVICE_REFUSED";

// Throws Error{ERR_OUT_OF_MEMORY} or Error{ERR_DEVICE_REFUSED}, after which the device is as usable as
// before; Error{ERR_DEVICE_LOST} after what it does not recover from in this process (a kernel that failed, a
// device that fell off the bus); Error{ERR_DEVICE_UNAVAILABLE} where another process has it for itself.
// `doing` completes "while ...".
void Check(cudaError_t error, const char* doing);

template <typename Handle, cudaError_t (*kDestroy)(Handle)>
struct Destroyer {
  using pointer = Handle;
  void operator()(Handle handle) const { kDestroy(handle); }
};
template <typename Handle, cudaError_t (*kDestroy)(Handle)>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroyer<Handle, kDestroy>>;

using DeviceMemory = Owned<void*, cudaFree>;
using PinnedMemory = Owned<void*, cudaFreeHost>;
using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

// No memory, and no error, for 0 bytes.
DeviceMemory AllocateDevice(size_t bytes);
PinnedMemory AllocatePinned(size_t bytes);
// A copy on the device, complete on return.
DeviceMemory Upload(const void* from, size_t bytes);
Stream MakeStream();
// What waits for the event: another stream; a thread, by Wait; or nobody, and it is for cudaEventElapsedTime.
enum class EventUse { kStream, kThread, kTime };
Event MakeEvent(EventUse use);
// Until an event for threads has happened. After a short time of asking again and again the thread sleeps, so
// that its core is left to those who decode images; waking up takes some ten microseconds.
void Wait(const Event& event, const char* doing);

// What `enqueue` puts on the stream, as a graph. It must neither allocate nor wait.
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
