#include "cuda/device_memory.h"

#include <chrono>
#include <string>

#include "engine/error.h"

namespace repvgg::cuda {
namespace {

constexpr std::chrono::microseconds kAskingTime{200};

// Whether the device still works: after an unrecoverable (sticky) error every later call fails.
bool DeviceAnswers() {
  // The failed call may have been part of a stream capture.
  const CaptureMode any(cudaStreamCaptureModeRelaxed);
  size_t free = 0, total = 0;
  const bool answers = cudaMemGetInfo(&free, &total) == cudaSuccess;
  cudaGetLastError();
  return answers;
}

}  // namespace

void Check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // A non-sticky error must not surface again in an unrelated call.
  if (error == cudaErrorMemoryAllocation) {
    throw Error(kOutOfMemory, std::string("The GPU has not enough memory left: it ran out while ") + doing +
                                  ". Use a smaller batchSize, or free other models.");
  }
  const std::string what =
      std::string(doing) + " (" + cudaGetErrorName(error) + ": " + cudaGetErrorString(error) + ")";
  if (error == cudaErrorDevicesUnavailable) {
    throw Error("ERR_DEVICE_UNAVAILABLE", "The GPU is not to be had while " + what +
                                              ": another process may have it for itself, as its compute mode "
                                              "in nvidia-smi would say.");
  }
  if (DeviceAnswers()) {
    throw Error(kDeviceRefused, "The GPU or its driver refused a call while " + what +
                                    ". Both are as usable as before: docs/errors.md says what may help.");
  }
  throw Error(kDeviceLost, "The GPU failed while " + what +
                               ". The model is lost: load it again, in a new process if that fails too.");
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
    // cudaMemcpy of pageable memory may return when the data is staged. The rest of the copy is in the
    // default stream, which non-blocking streams do not wait for.
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
