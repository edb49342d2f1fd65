#include "cuda/cuda_network.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>

#include "engine/error.h"
#include "engine/fp8.h"

namespace repvgg::cuda {
namespace {

constexpr const char* kLoading = "loading a model";
constexpr const char* kRunning = "running a model";

}  // namespace

CudaNetwork::CudaNetwork(NetworkShape network, const BackendOptions& options, DeviceTraits device,
                         MeasureLayer measure)
    : Network(std::move(network)),
      precision_(options.precision),
      device_(std::move(device)),
      forward_(shape(), precision_, device_.workspace_bytes),
      chooser_(device_, precision_, AllowedFor(shape(), options), CacheDirectory(), std::move(measure)),
      image_bytes_(size_t{3} * shape().height * shape().width),
      chunk_(std::clamp(options.batch_size, 1, forward_.MostImages())) {}

CudaNetwork::~CudaNetwork() {
  if (!used_) return;  // Do not initialise CUDA on the JavaScript thread.
  // Freeing initialises this thread's current device, whichever memory it frees.
  cudaSetDevice(device_.index);
  if (buffers_ == nullptr) return;
  const CaptureMode own(cudaStreamCaptureModeThreadLocal);
  // A failed run may have left work in the streams that uses the buffers.
  for (const Stream* stream : {&upload_, &compute_, &download_}) cudaStreamSynchronize(stream->get());
}

template <typename Work>
void CudaNetwork::OnDevice(Work work) {
  if (lost_) throw Error(kDeviceLost, "The GPU failed earlier, and this model is lost: load it again.");
  try {
    used_ = true;
    Check(cudaSetDevice(device_.index), "selecting the GPU");
    const CaptureMode own(cudaStreamCaptureModeThreadLocal);  // Other libraries may be recording graphs.
    work();
  } catch (const Error& error) {
    if (error.code() == kDeviceLost) lost_ = true;
    throw;
  }
}

template <typename Work>
void CudaNetwork::Load(Work work) {
  OnDevice([&] {
    try {
      work();
    } catch (const Error& error) {
      if (error.code() != kOutOfMemory) throw;
      chooser_.FreeMeasuring();
      work();
    }
  });
}

const Choice* CudaNetwork::ChoiceFor(size_t index) {
  const bool plain = shape().form == Form::kDeploy && shape().squeeze_excite == SqueezeExcitePosition::kNone;
  const Choice* first_two = nullptr;
  if (index <= 1 && plain && shape().blocks.size() > 1) {
    Convolution second = forward_.block(1).Layer(chunk_);
    const Stem stem = forward_.block(0).StemLayer(chunk_);
    second.stem = &stem;
    first_two = chooser_.ChooseFirstTwo(second);
  }
  if (index == 0) return first_two;
  const bool fused = first_two != nullptr && first_two->candidate.algorithm == Algorithm::kStemFused;
  return fused ? first_two : &chooser_.Choose(forward_.block(index).Layer(chunk_));
}

void CudaNetwork::SetBlock(size_t index, const DeployBlock& block) {
  if (precision_ == Precision::kFp8 && block.scale.empty()) {
    return SetBlock(index, QuantizeBlock(shape(), index, block).view());
  }
  Load([&] { forward_.block(index).Set(block, ChoiceFor(index)); });
}

void CudaNetwork::SetBlock(size_t index, const TrainBlock& block) {
  Load([&] { forward_.block(index).Set(block, ChoiceFor(index)); });
}

void CudaNetwork::SetLinear(const Linear& linear) {
  Load([&] { forward_.SetLinear(linear); });
}

void CudaNetwork::Run(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
                      const Done& done) {
  if (results.output == Output::kRanges) {
    throw Error("ERR_PRECISION_UNSUPPORTED", "Ranges of values are measured in fp32 on the CPU.");
  }
  const auto failure = std::make_shared<std::exception_ptr>();  // Set by the collector.
  std::exception_ptr refused;
  try {
    OnDevice([&] {
      if (buffers_ == nullptr) Prepare();
      RunChunks(batch, results, cancelled, failure);
    });
  } catch (...) {
    refused = std::current_exception();
  }
  // Queued behind the chunks that were enqueued, which write to the run's arrays.
  collector_.Post([=] { done(refused ? refused : *failure); });
}

void CudaNetwork::Prepare() {
  chooser_.StopMeasuring();
  for (Stream* stream : {&upload_, &compute_, &download_}) *stream = MakeStream();
  for (Event* event : {&uploaded_, &stem_done_, &computed_}) *event = MakeEvent(EventUse::kStream);
  uploader_ = std::make_unique<Uploader>(chunk_ * image_bytes_, upload_.get());
  for (int chunk = chunk_;; chunk = DivideUp(chunk, 2)) {
    try {
      Buffers buffers = Allocate(chunk);
      // Runs every kernel once before capture: kernels are loaded lazily, which drivers older than CUDA 12.3
      // cannot do during stream capture.
      Check(cudaStreamSynchronize(upload_.get()), kLoading);
      forward_.EnqueueFirst(buffers.batch, 1, compute_.get());
      EnqueueRest(buffers, buffers.slots[0], 1);
      if (shape().num_classes > 0) EnqueueTopK(buffers.slots[0], 1, 1);
      Check(cudaStreamSynchronize(compute_.get()), kLoading);
      for (Slot& slot : buffers.slots) GraphFor(buffers, slot, chunk);
      buffers_ = std::make_unique<Buffers>(std::move(buffers));
      chunk_ = chunk;
      return;
    } catch (const Error& error) {
      if (error.code() != kOutOfMemory || chunk == 1) throw;
    }
  }
}

CudaNetwork::Buffers CudaNetwork::Allocate(int chunk) const {
  const size_t images = chunk, channels = shape().embedding_channels(), classes = shape().num_classes;
  Buffers buffers;
  buffers.batch = forward_.Allocate(chunk, upload_.get());
  for (Slot& slot : buffers.slots) {
    slot.embeddings = AllocateDevice(images * channels * sizeof(float));
    slot.logits = AllocateDevice(images * classes * sizeof(float));
    slot.ranking = AllocateDevice(images * classes * (sizeof(float) + sizeof(int32_t)));
    slot.downloads = AllocatePinned(images * std::max(channels, 2 * classes) * sizeof(float));
    slot.downloaded = MakeEvent(EventUse::kThread);
  }
  return buffers;
}

size_t CudaNetwork::Bytes(const Results& results, int images) const {
  const size_t indices = results.output == Output::kTopK ? sizeof(int32_t) : 0;
  return results.Count(shape(), images) * (sizeof(float) + indices);
}

int CudaNetwork::GraphBatch(int images) const {
  return std::min(chunk_, static_cast<int>(std::bit_ceil(static_cast<unsigned>(images))));
}

const Graph& CudaNetwork::GraphFor(const Buffers& buffers, Slot& slot, int batch) const {
  Graph& graph = slot.graphs[batch];
  if (graph == nullptr) graph = CaptureGraph(compute_.get(), [&] { EnqueueRest(buffers, slot, batch); });
  return graph;
}

void CudaNetwork::EnqueueRest(const Buffers& buffers, const Slot& slot, int batch) const {
  forward_.EnqueueRest(buffers.batch, batch, static_cast<float*>(slot.embeddings.get()),
                       static_cast<float*>(slot.logits.get()), compute_.get());
}

void CudaNetwork::EnqueueTopK(const Slot& slot, int images, int k) const {
  auto* const scores = static_cast<float*>(slot.ranking.get());
  forward_.EnqueueTopK(static_cast<const float*>(slot.logits.get()), images, k,
                       reinterpret_cast<int32_t*>(scores + static_cast<size_t>(images) * k), scores,
                       compute_.get());
}

// From uploaded pixels to the slot's downloads.
void CudaNetwork::EnqueueChunk(int images, const Results& results, Slot& slot) {
  const int graph_batch = GraphBatch(images);
  const Graph& graph = GraphFor(*buffers_, slot, graph_batch);
  Check(cudaStreamWaitEvent(compute_.get(), uploaded_.get(), 0), kRunning);
  forward_.EnqueueFirst(buffers_->batch, graph_batch, compute_.get());
  Check(cudaEventRecord(stem_done_.get(), compute_.get()), kRunning);
  Check(cudaGraphLaunch(graph.get(), compute_.get()), kRunning);
  if (results.output == Output::kTopK) EnqueueTopK(slot, images, results.k);
  Check(cudaEventRecord(computed_.get(), compute_.get()), kRunning);

  Check(cudaStreamWaitEvent(download_.get(), computed_.get(), 0), kRunning);
  const DeviceMemory& from = results.output == Output::kTopK     ? slot.ranking
                             : results.output == Output::kLogits ? slot.logits
                                                                 : slot.embeddings;
  Check(cudaMemcpyAsync(slot.downloads.get(), from.get(), Bytes(results, images), cudaMemcpyDeviceToHost,
                        download_.get()),
        kRunning);
  Check(cudaEventRecord(slot.downloaded.get(), download_.get()), kRunning);
}

void CudaNetwork::HandOver(const Slot& slot, const Results& results, int first, int images) const {
  const size_t begin = results.Count(shape(), first), count = results.Count(shape(), images);
  const auto* const values = static_cast<const float*>(slot.downloads.get());
  std::memcpy(results.values + begin, values, count * sizeof(float));
  if (results.output != Output::kTopK) return;
  std::memcpy(results.indices + begin, values + count, count * sizeof(int32_t));
}

void CudaNetwork::RunChunks(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
                            const std::shared_ptr<std::exception_ptr>& failure) {
  for (int first = 0; first < batch.count; first += chunk_) {
    if (cancelled()) throw Error(kAborted, "The run was aborted.");
    const int images = std::min(chunk_, batch.count - first);
    // The pixels may be overwritten once the previous chunk's first block has read them.
    Check(cudaStreamWaitEvent(upload_.get(), stem_done_.get(), 0), kRunning);
    uploader_->Upload(buffers_->batch.pixels.get(), batch.pixels + first * image_bytes_,
                      images * image_bytes_);
    Check(cudaEventRecord(uploaded_.get(), upload_.get()), kRunning);

    free_slots_.acquire();  // Slots are released in the order of acquisition.
    Slot& slot = buffers_->slots[next_slot_ % kSlots];
    try {
      EnqueueChunk(images, results, slot);
    } catch (...) {
      free_slots_.release();
      throw;
    }
    ++next_slot_;
    collector_.Post([this, &slot, results, failure, first, images] {
      try {
        OnDevice([&] { Wait(slot.downloaded, kRunning); });
        HandOver(slot, results, first, images);
      } catch (...) {
        *failure = std::current_exception();
      }
      free_slots_.release();
    });
  }
}

// Pixels are uploaded once and nothing is downloaded. Two runs are enqueued at any time, to keep the GPU
// busy.
double CudaNetwork::MeasureRate(const ImageBatch& batch, double seconds, const Cancelled& cancelled) {
  using Clock = std::chrono::steady_clock;
  double rate = 0;
  OnDevice([&] {
    if (buffers_ == nullptr) Prepare();
    const int images = std::min(chunk_, batch.count), graph_batch = GraphBatch(images);
    const Graph& graph = GraphFor(*buffers_, buffers_->slots[0], graph_batch);
    const Event over[2] = {MakeEvent(EventUse::kThread), MakeEvent(EventUse::kThread)};
    for (int i = 0; i < kSlots; ++i) free_slots_.acquire();  // Waits for runs in flight.
    const auto give_back = [](auto* slots) { slots->release(kSlots); };
    const std::unique_ptr<decltype(free_slots_), decltype(give_back)> taken(&free_slots_, give_back);
    uploader_->Upload(buffers_->batch.pixels.get(), batch.pixels, images * image_bytes_);
    Check(cudaStreamSynchronize(upload_.get()), kRunning);
    const Clock::time_point start = Clock::now();
    int runs = 0;
    while (std::chrono::duration<double>(Clock::now() - start).count() < seconds || runs == 0) {
      if (cancelled()) break;
      const Event& own = over[runs++ % 2];
      Wait(own, kRunning);
      forward_.EnqueueFirst(buffers_->batch, graph_batch, compute_.get());
      Check(cudaGraphLaunch(graph.get(), compute_.get()), kRunning);
      Check(cudaEventRecord(own.get(), compute_.get()), kRunning);
    }
    Check(cudaStreamSynchronize(compute_.get()), kRunning);
    rate = runs * images / std::chrono::duration<double>(Clock::now() - start).count();
  });
  if (cancelled()) throw Error(kAborted, "The measurement was aborted.");
  return rate;
}

std::string CudaNetwork::Describe() const {
  std::string text = "{\"batchSize\": " + std::to_string(chunk_) + ", \"layers\": [";
  for (size_t i = 0; i < shape().blocks.size(); ++i) {
    const Choice* const choice = forward_.block(i).choice();
    const bool fused = choice != nullptr && choice->candidate.algorithm == Algorithm::kStemFused;
    text += i == 0 ? "\n" : ",\n";
    text += "{\"algorithm\": \"" +
            (i > 0   ? choice->candidate.name
             : fused ? "fused"
                     : "stem") +
            "\", \"source\": \"" + (choice == nullptr ? "only" : choice->source) +
            "\", \"microseconds\": " + (choice == nullptr ? "{}" : ToJson(choice->timings)) + "}";
  }
  return text + "\n]}";
}

}  // namespace repvgg::cuda
