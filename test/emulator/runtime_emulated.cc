#include "test/emulator/runtime_emulated.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
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
  int index = 0;

  void RunUntil(size_t number) {
    while (!queue.empty() && submitted - queue.size() < number) {
      const Work work = std::move(queue.front());
      queue.pop_front();
      work();
    }
  }
};

struct EventState {
  StreamState* stream = nullptr;  // Null before the first record.
  size_t number = 0;              // Work of the stream before the record.
};

namespace {

struct {
  std::map<void*, size_t> allocations, pinned;
  size_t in_use = 0, peak = 0;
  int graphs = 0;
  int streams = 0;
  cudaError_t last = cudaSuccess;
  bool lost = false;
  StreamState default_stream;
} state;

// Held by every call: a network has two threads.
std::recursive_mutex mutex;
struct Lock : std::lock_guard<std::recursive_mutex> {
  Lock() : std::lock_guard<std::recursive_mutex>(mutex) {}
};

cudaError_t Return(cudaError_t error) {
  const Lock lock;
  if (state.lost) error = cudaErrorIllegalAddress;
  if (error != cudaSuccess) state.last = error;
  return error;
}

cudaError_t Enqueue(StreamState* stream, Work work) {
  const Lock lock;
  if (state.lost) return Return(cudaSuccess);
  if (stream == nullptr) {
    state.default_stream.RunUntil(state.default_stream.submitted);
    work();
  } else if (stream->recording != nullptr) {
    stream->recording->work.push_back(std::move(work));
  } else {
    stream->queue.push_back(std::move(work));
    ++stream->submitted;
    if (runtime_settings().eager >> stream->index % 3 & 1) stream->RunUntil(stream->submitted);
  }
  return Return(cudaSuccess);
}

// Whether so many bytes are within the allocation in which they begin, if that is one of these.
bool Fits(const std::map<void*, size_t>& allocations, const void* from, size_t bytes) {
  auto found = allocations.upper_bound(const_cast<void*>(from));
  if (found == allocations.begin()) return true;
  const auto& [begin, size] = *--found;
  const size_t offset = static_cast<const char*>(from) - static_cast<const char*>(begin);
  return offset >= size || offset + bytes <= size;
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

cudaError_t Submit(StreamState* stream, Work work) {
  {
    const Lock lock;
    int& refused = runtime_settings().refused_launch;
    if (refused >= 0 && refused-- == 0) return Return(cudaErrorInvalidConfiguration);
  }
  return Enqueue(stream, [work = std::move(work)] {
    int& failing = runtime_settings().failing_launch;
    if (failing == 0) state.lost = true;
    if (failing > 0) --failing;
    if (!state.lost) work();
  });
}

}  // namespace repvgg::emulator

using namespace repvgg::emulator;

// A new device each time that the settings say there is no fault.
cudaError_t cudaSetDevice(int) {
  const Lock lock;
  if (runtime_settings().failing_launch < 0) state.lost = false;
  return Return(runtime_settings().taken ? cudaErrorDevicesUnavailable : cudaSuccess);
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

// Few, so that persistent kernels have several tiles to do.
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const bool is_hopper = attribute == cudaDevAttrComputeCapabilityMajor;
  *value = is_hopper ? 9 : attribute == cudaDevAttrComputeCapabilityMinor ? 0 : 3;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const Lock lock;
  return std::exchange(state.last, cudaSuccess);
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaError";
}
const char* cudaGetErrorString(cudaError_t) { return "an emulated error"; }

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock;
  *free = *total = 0;  // Only asked for whether there is an answer.
  return Return(cudaSuccess);
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const Lock lock;
  const size_t limit = runtime_settings().memory_limit;
  if (limit > 0 && state.in_use + bytes > limit) return Return(cudaErrorMemoryAllocation);
  *memory = Allocate(bytes, Contents::kState);
  // NaN in every format.
  std::memset(*memory, 0xff, bytes);
  state.allocations[*memory] = bytes;
  state.in_use += bytes;
  state.peak = std::max(state.peak, state.in_use);
  return Return(cudaSuccess);
}

cudaError_t cudaFree(void* memory) {
  const Lock lock;
  const auto found = state.allocations.find(memory);
  if (found == state.allocations.end()) return Return(cudaErrorInvalidValue);
  state.default_stream.RunUntil(state.default_stream.submitted);
  state.in_use -= found->second;
  state.allocations.erase(found);
  Free(memory);
  return Return(cudaSuccess);
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  const Lock lock;
  *memory = std::malloc(bytes);
  state.pinned[*memory] = bytes;
  std::memset(*memory, 0xff, bytes);
  return Return(cudaSuccess);
}

cudaError_t cudaFreeHost(void* memory) {
  const Lock lock;
  state.pinned.erase(memory);
  std::free(memory);
  return Return(cudaSuccess);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
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
  return Return(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return Return(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock;
  if (stream == nullptr) stream = &state.default_stream;
  stream->RunUntil(stream->submitted);
  return Return(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock;
  if (event->stream == nullptr) return Return(cudaSuccess);
  return Enqueue(stream, [from = event->stream, number = event->number] { from->RunUntil(number); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EventState;
  return Return(cudaSuccess);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return Return(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock;
  *event = {stream, stream->submitted};
  return Return(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock;
  const StreamState* const stream = event->stream;
  const bool over = stream == nullptr || stream->submitted - stream->queue.size() >= event->number;
  return over ? Return(cudaSuccess) : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock;
  if (event->stream != nullptr) event->stream->RunUntil(event->number);
  return Return(cudaSuccess);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->recording = new GraphState;
  return Return(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(stream->recording, nullptr);
  return Return(cudaSuccess);
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
