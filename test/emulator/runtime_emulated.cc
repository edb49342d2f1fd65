#include "test/emulator/runtime_emulated.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "test/emulator/emulator.h"

namespace repvgg::emulator {

using Work = std::function<void()>;

struct GraphState {
  std::vector<Work> work;
};

struct StreamState {
  std::deque<Work> queue;
  size_t submitted = 0;  // Since the stream was made; the queue's last is number `submitted`.
  GraphState* recording = nullptr;
  bool spoilt = false;  // The recording.
  int index = 0;
  int device = 0;

  void RunUntil(size_t number) {
    while (!queue.empty() && submitted - queue.size() < number) {
      const Work work = std::move(queue.front());
      queue.pop_front();
      work();
    }
  }
};

struct EventState {
  using Clock = std::chrono::steady_clock;

  StreamState* stream = nullptr;  // Null before the first record.
  size_t number = 0;              // Work of the stream before the record, and the reading of the clock.
  std::shared_ptr<Clock::time_point> time;  // Null where it is not for measuring.
  int device = 0;
};

namespace {

constexpr int kMostDevices = 4;
constexpr size_t kTotalBytes = size_t{4} << 30;
constexpr int kL2Bytes = 1 << 20;
constexpr int kMultiprocessors = 3;  // Few, so that persistent kernels have several tiles to do.

struct Device {
  size_t in_use = 0;
  int calls = 0;
  bool lost = false;
};

struct Allocation {
  size_t bytes;
  int device;
};

struct {
  std::map<void*, Allocation> allocations, pinned;
  Device devices[kMostDevices];
  size_t in_use = 0, peak = 0;
  int graphs = 0;
  int streams = 0;
  cudaError_t last = cudaSuccess;
  StreamState default_stream;
  StreamState* recorded_globally = nullptr;
} state;

thread_local int current = 0;                  // Device.
thread_local StreamState* recorded = nullptr;  // By this thread.
thread_local cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;

// Held by every call: a network has two threads.
std::recursive_mutex mutex;
struct Lock : std::lock_guard<std::recursive_mutex> {
  Lock() : std::lock_guard<std::recursive_mutex>(mutex) {}
};

cudaError_t Return(cudaError_t error) {
  const Lock lock;
  ++state.devices[current].calls;
  if (state.devices[current].lost) error = cudaErrorIllegalAddress;
  if (error != cudaSuccess) state.last = error;
  return error;
}

// For calls that may wait or allocate: whether a recording forbids them, which they spoil.
bool Spoils() {
  const Lock lock;
  StreamState* const streams[] = {recorded, state.recorded_globally};
  bool spoils = false;
  for (StreamState* const stream : streams) {
    if (stream == nullptr || capture_mode == cudaStreamCaptureModeRelaxed) continue;
    if (stream != recorded && capture_mode != cudaStreamCaptureModeGlobal) continue;
    spoils = stream->spoilt = true;
  }
  if (spoils) Return(cudaErrorStreamCaptureUnsupported);
  return spoils;
}

cudaError_t Enqueue(StreamState* stream, Work work) {
  const Lock lock;
  if (state.devices[current].lost) return Return(cudaSuccess);
  if (stream == nullptr) {
    state.default_stream.RunUntil(state.default_stream.submitted);
    work();
  } else if (stream->recording != nullptr) {
    if (stream->spoilt) return Return(cudaErrorStreamCaptureInvalidated);
    stream->recording->work.push_back(std::move(work));
  } else {
    stream->queue.push_back(std::move(work));
    ++stream->submitted;
    if (runtime_settings().eager >> stream->index % 3 & 1) stream->RunUntil(stream->submitted);
  }
  return Return(cudaSuccess);
}

// Whether so many bytes are within the allocation in which they begin, if that is one of these.
bool Fits(const std::map<void*, Allocation>& allocations, const void* from, size_t bytes) {
  auto found = allocations.upper_bound(const_cast<void*>(from));
  if (found == allocations.begin()) return true;
  const auto& [begin, allocation] = *--found;
  const size_t offset = static_cast<const char*>(from) - static_cast<const char*>(begin);
  return offset >= allocation.bytes || offset + bytes <= allocation.bytes;
}
bool Fits(const void* from, size_t bytes) {
  const Lock lock;
  return Fits(state.allocations, from, bytes) && Fits(state.pinned, from, bytes);
}

}  // namespace

RuntimeSettings& runtime_settings() {
  static RuntimeSettings value;
  return value;
}

size_t DeviceMemoryInUse() { return state.in_use; }
size_t PeakDeviceMemory() { return state.peak; }
void ResetPeakMemory() { state.peak = state.in_use; }
int GraphsMade() { return state.graphs; }
int CallsOn(int device) { return state.devices[device].calls; }

cudaError_t Submit(StreamState* stream, Work work) {
  {
    const Lock lock;
    if (stream != nullptr && stream->device != current) return Return(cudaErrorInvalidResourceHandle);
    int& refused = runtime_settings().refused_launch;
    if (refused >= 0 && refused-- == 0) return Return(cudaErrorInvalidConfiguration);
  }
  return Enqueue(stream, [work = std::move(work), device = current] {
    if (int& failing = runtime_settings().failing_launch; device == runtime_settings().failing_device) {
      if (failing == 0) state.devices[device].lost = true;
      if (failing > 0) --failing;
    }
    if (!state.devices[device].lost) work();
  });
}

}  // namespace repvgg::emulator

using namespace repvgg::emulator;

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = runtime_settings().devices;
  return *count == 0 ? Return(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const RuntimeSettings& settings = runtime_settings();
  *properties = {"Emulated GPU", settings.capability / 10, settings.capability % 10,
                 kTotalBytes,    kMultiprocessors,         kL2Bytes};
  return device < settings.devices ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaDeviceGetPCIBusId(char* name, int bytes, int device) {
  std::snprintf(name, bytes, "0000:%02x:00.0", device);
  return cudaSuccess;
}

// A new device each time that the settings say there is no fault.
cudaError_t cudaSetDevice(int device) {
  const Lock lock;
  RuntimeSettings& settings = runtime_settings();
  if (settings.refresh != nullptr) settings.refresh();
  if (device < 0 || device >= settings.devices) return Return(cudaErrorInvalidDevice);
  current = device;
  if (settings.failing_launch < 0 || settings.failing_device != device) state.devices[device].lost = false;
  return Return(settings.taken ? cudaErrorDevicesUnavailable : cudaSuccess);
}

cudaError_t cudaGetDevice(int* device) {
  *device = current;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrL2CacheSize:
      *value = kL2Bytes;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiprocessors;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = 228 * 1024;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = runtime_settings().capability / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = runtime_settings().capability % 10;
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const Lock lock;
  return std::exchange(state.last, cudaSuccess);
}
const char* cudaGetErrorName(cudaError_t error) {
  if (error == cudaErrorNoDevice) return "cudaErrorNoDevice";
  return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaError";
}
const char* cudaGetErrorString(cudaError_t) { return "an emulated error"; }

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock;
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  *total = kTotalBytes;
  *free = kTotalBytes - state.devices[current].in_use;
  return Return(cudaSuccess);
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const Lock lock;
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  Device& device = state.devices[current];
  const size_t limit = runtime_settings().memory_limit;
  if (limit > 0 && device.in_use + bytes > limit) return Return(cudaErrorMemoryAllocation);
  *memory = Allocate(bytes, Contents::kState);
  // NaN in every format.
  std::memset(*memory, 0xff, bytes);
  state.allocations[*memory] = {bytes, current};
  device.in_use += bytes;
  state.in_use += bytes;
  state.peak = std::max(state.peak, state.in_use);
  return Return(cudaSuccess);
}

cudaError_t cudaFree(void* memory) {
  const Lock lock;
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  const auto found = state.allocations.find(memory);
  if (found == state.allocations.end()) return Return(cudaErrorInvalidValue);
  state.default_stream.RunUntil(state.default_stream.submitted);
  state.devices[found->second.device].in_use -= found->second.bytes;
  state.in_use -= found->second.bytes;
  state.allocations.erase(found);
  Free(memory);
  return Return(cudaSuccess);
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  const Lock lock;
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  *memory = std::malloc(bytes);
  state.pinned[*memory] = {bytes, current};
  std::memset(*memory, 0xff, bytes);
  return Return(cudaSuccess);
}

cudaError_t cudaFreeHost(void* memory) {
  const Lock lock;
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  state.pinned.erase(memory);
  std::free(memory);
  return Return(cudaSuccess);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  if (kind != cudaMemcpyHostToDevice) return Enqueue(nullptr, [=] { std::memcpy(to, from, bytes); });
  const Lock lock;
  const auto* const values = static_cast<const unsigned char*>(from);
  state.default_stream.queue.push_back([to, staged = std::vector<unsigned char>(values, values + bytes)] {
    std::memcpy(to, staged.data(), staged.size());
  });
  ++state.default_stream.submitted;
  return Return(cudaSuccess);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (!Fits(to, bytes) || !Fits(from, bytes)) return Return(cudaErrorInvalidValue);
  return Enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return Enqueue(stream, [=] { std::memset(to, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Lock lock;
  *stream = new StreamState;
  (*stream)->index = state.streams++;
  (*stream)->device = current;
  return Return(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return Return(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock;
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  if (stream == nullptr) stream = &state.default_stream;
  stream->RunUntil(stream->submitted);
  return Return(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock;
  if (event->stream == nullptr) return Return(cudaSuccess);
  return Enqueue(stream, [from = event->stream, number = event->number] { from->RunUntil(number); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new EventState;
  (*event)->device = current;
  if ((flags & cudaEventDisableTiming) == 0) {
    (*event)->time = std::make_shared<EventState::Clock::time_point>();
  }
  return Return(cudaSuccess);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return Return(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock;
  if (event->device != stream->device) return Return(cudaErrorInvalidResourceHandle);
  if (event->time != nullptr) {
    Enqueue(stream, [time = event->time] { *time = EventState::Clock::now(); });
  }
  event->stream = stream;
  event->number = stream->submitted;
  return Return(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock;
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  const StreamState* const stream = event->stream;
  const bool over = stream == nullptr || stream->submitted - stream->queue.size() >= event->number;
  return over ? Return(cudaSuccess) : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock;
  if (Spoils()) return cudaErrorStreamCaptureUnsupported;
  if (event->stream != nullptr) event->stream->RunUntil(event->number);
  return Return(cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (cudaEventQuery(start) != cudaSuccess || cudaEventQuery(end) != cudaSuccess) {
    return Return(cudaErrorNotReady);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(*end->time - *start->time).count();
  return Return(cudaSuccess);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, capture_mode);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock;
  stream->recording = new GraphState;
  stream->spoilt = false;
  if (mode != cudaStreamCaptureModeRelaxed) recorded = stream;
  if (mode == cudaStreamCaptureModeGlobal) state.recorded_globally = stream;
  return Return(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock;
  recorded = nullptr;
  if (state.recorded_globally == stream) state.recorded_globally = nullptr;
  *graph = std::exchange(stream->recording, nullptr);
  if (!stream->spoilt) return Return(cudaSuccess);
  delete std::exchange(*graph, nullptr);
  return Return(cudaErrorStreamCaptureInvalidated);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long) {
  const Lock lock;
  ++state.graphs;
  *instance = new GraphState(*graph);
  return Return(cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t stream) {
  for (const Work& work : instance->work) Enqueue(stream, work);
  return Return(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return Return(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance) {
  delete instance;
  return Return(cudaSuccess);
}
