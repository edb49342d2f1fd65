#include "cuda/device_memory.h"

#include <chrono>
#include <string>

#include "engine/error.h"

namespace repvgg::cuda {
namespace {

constexpr std::chrono::microseconds kAskingTime{200};

}  // namespace

void Check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // An error that is not sticky must not surface again in someone else's call.
  if (error == cudaErrorMemoryAllocation) {
    throw Error(kOutOfMemory, std::string("The GPU has not enough memory left: it ran out while ") + doing +
                                  ". Use a smaller batchSize, or free other models.");
  }
  throw Error(kDeviceLost, std::string("The GPU failed while ") + doing + " (" + cudaGetErrorName(error) +
                               ": " + cudaGetErrorString(error) +
                               "). The model is lost: load it again, in a new process if that fails too.");
}

DeviceMemory AllocateDevice(size_t bytes) {
  void* memory = nullptr;
  if (bytes > 0) Check(cudaMalloc(&memory, bytes), "allocating memory");
  return DeviceMemory(memory);
}

PinnedMemory AllocatePinned(size_t bytes) {
  void* memory = nullptr;
  if (bytes > 0) Check(cudaMallocHost(&memory, bytes), "allocating page-locked memory of the host");
  return PinnedMemory(memory);
}

DeviceMemory Upload(const void* from, size_t bytes) {
  DeviceMemory memory = AllocateDevice(bytes);
  if (bytes > 0) {
    Check(cudaMemcpy(memory.get(), from, bytes, cudaMemcpyHostToDevice), "uploading weights");
    // The call may return once the values are in page-locked memory of the driver's. Our streams do not wait
    // for the default one, where the rest of the copy is.
    Check(cudaStreamSynchronize(nullptr), "uploading weights");
  }
  return memory;
}

Stream MakeStream() {
  cudaStream_t stream = nullptr;
  Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  return Stream(stream);
}

Event MakeEvent(EventUse use) {
  const unsigned flags = use == EventUse::kTime     ? cudaEventDefault
                         : use == EventUse::kThread ? cudaEventDisableTiming | cudaEventBlockingSync
                                                    : cudaEventDisableTiming;
  cudaEvent_t event = nullptr;
  Check(cudaEventCreateWithFlags(&event, flags), "creating an event");
  return Event(event);
}

void Wait(const Event& event, const char* doing) {
  using Clock = std::chrono::steady_clock;
  for (const auto start = Clock::now(); Clock::now() - start < kAskingTime;) {
    const cudaError_t error = cudaEventQuery(event.get());
    if (error != cudaErrorNotReady) return Check(error, doing);
  }
  Check(cudaEventSynchronize(event.get()), doing);
}

}  // namespace repvgg::cuda
