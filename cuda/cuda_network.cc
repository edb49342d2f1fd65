#include "cuda/cuda_network.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <climits>
#include <cstring>
#include <latch>

#include "cuda/buffer_plan.h"
#include "cuda/head.h"
#include "cuda/stem.h"
#include "engine/error.h"
#include "engine/fp8.h"

namespace repvgg::cuda {
namespace {

// Pixels go through two page-locked pieces of this size: large enough for full speed, small beside a batch.
constexpr size_t kPieceBytes = 4 << 20;
constexpr size_t kLeastPart = 64 << 10;  // Smaller copies are made before another thread wakes up.

constexpr const char* kLoading = "loading a model";
constexpr const char* kRunning = "running a model";

constexpr size_t kMostBlocks = 65535;  // Of a launch, in any dimension but the first.

// The most images for which every index into a map stays an int, and which kernels can be launched for.
int MostImages(const NetworkShape& shape, const MemoryPlan& plan) {
  size_t largest = size_t{3} * shape.height * shape.width;
  for (const size_t elements : plan.elements) largest = std::max(largest, elements);
  return static_cast<int>(std::clamp<size_t>((INT_MAX - 1) / largest, 1, kMostBlocks));
}

// Gates amplify rounding errors: in fp32 Winograd's would take the logits beyond 1e-5, as on the CPU.
std::string WantedAlgorithm(const NetworkShape& shape, Precision precision, const BackendOptions& options) {
  const bool gated = shape.squeeze_excite != SqueezeExcitePosition::kNone;
  return options.algorithm.empty() && gated && precision == Precision::kFp32 ? "direct" : options.algorithm;
}

}  // namespace

CudaNetwork::CudaNetwork(NetworkShape network, Precision precision, const BackendOptions& options,
                         DeviceTraits device, MeasureLayer measure)
    : Network(std::move(network)),
      precision_(precision),
      device_(std::move(device)),
      plan_(PlanMemory(shape(), 0)),
      chooser_(device_, precision, WantedAlgorithm(shape(), precision, options), CacheDirectory(),
               std::move(measure), ToWinogradClass(options.winograd)),
      chunk_(std::clamp(options.batch_size, 1, MostImages(shape(), plan_))) {
  OnDevice([&] {
    for (size_t i = 0; i < shape().blocks.size(); ++i) {
      blocks_.emplace_back(shape(), i, plan_.sizes[i], precision_, device_.workspace_bytes);
    }
    const std::vector<float> table = NormalizationTable(shape().mean, shape().stddev);
    normalized_ = Upload(table.data(), table.size() * sizeof(float));
    for (Stream* stream : {&upload_, &compute_, &download_}) *stream = MakeStream();
    for (Event& event : piece_free_) event = MakeEvent(EventUse::kThread);
    for (Event* event : {&uploaded_, &stem_done_, &computed_}) *event = MakeEvent(EventUse::kStream);
  });
}

CudaNetwork::~CudaNetwork() {
  // What a failed run left in the streams still uses the buffers.
  cudaSetDevice(device_.index);
  for (const Stream* stream : {&upload_, &compute_, &download_}) cudaStreamSynchronize(stream->get());
}

template <typename Work>
void CudaNetwork::OnDevice(Work work) {
  if (lost_) throw Error(kDeviceLost, "The GPU failed earlier, and this model is lost: load it again.");
  try {
    Check(cudaSetDevice(device_.index), "selecting the GPU");
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

void CudaNetwork::SetBlock(size_t index, const DeployBlock& block) {
  if (precision_ == Precision::kFp8 && block.scale.empty()) {
    return SetBlock(index, QuantizeBlock(shape(), index, block).view());
  }
  Load([&] {
    Block& own = blocks_[index];
    own.Set(block, index == 0 ? nullptr : &chooser_.Choose(own.Layer(chunk_)));
  });
}

void CudaNetwork::SetBlock(size_t index, const TrainBlock& block) {
  Load([&] {
    Block& own = blocks_[index];
    own.Set(block, index == 0 ? nullptr : &chooser_.Choose(own.Layer(chunk_)));
  });
}

void CudaNetwork::SetLinear(const Linear& linear) {
  Load([&] {
    linear_weight_ = Upload(linear.weight.data(), linear.weight.size_bytes());
    linear_bias_ = Upload(linear.bias.data(), linear.bias.size_bytes());
  });
}

void CudaNetwork::Run(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled,
                      const Done& done) {
  if (output == Output::kRanges) {
    throw Error("ERR_PRECISION_UNSUPPORTED", "Ranges of values are measured in fp32 on the CPU.");
  }
  const auto failure = std::make_shared<std::exception_ptr>();  // Of handing a chunk over.
  std::exception_ptr refused;
  try {
    OnDevice([&] {
      if (buffers_ == nullptr) Prepare();
      RunChunks(batch, output, out, cancelled, failure);
    });
  } catch (...) {
    refused = std::current_exception();
  }
  // Behind the chunks that were enqueued, which write to `out`.
  collector_.Post([=] { done(refused ? refused : *failure); });
}

void CudaNetwork::Prepare() {
  chooser_.StopMeasuring();
  for (;; chunk_ = DivideUp(chunk_, 2)) {
    try {
      Buffers buffers = Allocate(chunk_);
      // Kernels are loaded when they first run, which drivers older than CUDA 12.3 cannot do while a graph is
      // recorded.
      Check(cudaStreamSynchronize(upload_.get()), kLoading);
      EnqueueBlock(buffers, 0, 0, 1);
      EnqueueBlocks(buffers, 1);
      EnqueueHead(buffers, buffers.slots[0], 1);
      Check(cudaStreamSynchronize(compute_.get()), kLoading);
      for (Slot& slot : buffers.slots) GraphFor(buffers, slot, chunk_);
      buffers_ = std::make_unique<Buffers>(std::move(buffers));
      return;
    } catch (const Error& error) {
      if (error.code() != kOutOfMemory || chunk_ == 1) throw;
    }
  }
}

CudaNetwork::Buffers CudaNetwork::Allocate(int chunk) const {
  const size_t images = chunk, element = ElementSize(precision_);
  const size_t channels = shape().embedding_channels(), classes = shape().num_classes;
  size_t gates = 0, largest = 0;
  std::vector<size_t> workspaces;
  for (const Block& block : blocks_) {
    gates = std::max(gates, block.GateScratch(chunk));
    workspaces.push_back(block.Workspace(chunk));
  }
  for (size_t i = 1; i < plan_.elements.size(); ++i) largest = std::max(largest, plan_.elements[i]);

  Buffers buffers;
  const size_t pixels = images * shape().height * shape().width * 3;
  buffers.pixels = AllocateDevice(pixels);
  // A graph may be for more images than a run has; those it computes from whatever is here.
  Check(cudaMemsetAsync(buffers.pixels.get(), 0, pixels, upload_.get()), kLoading);
  const BufferPlan maps = PlanBuffers(plan_, images, element, workspaces);
  for (int i = 0; i < 2; ++i) {
    buffers.maps[i] = AllocateDevice(maps.bytes[i]);
    buffers.pieces[i] = AllocatePinned(std::min(kPieceBytes, pixels));
  }
  buffers.workspace =
      static_cast<unsigned char*>(buffers.maps[maps.workspace_buffer].get()) + maps.workspace_offset;
  for (Slot& slot : buffers.slots) {
    slot.embeddings = AllocateDevice(images * channels * sizeof(float));
    slot.logits = AllocateDevice(images * classes * sizeof(float));
    slot.results = AllocatePinned(images * std::max(channels, classes) * sizeof(float));
    slot.downloaded = MakeEvent(EventUse::kThread);
  }
  if (shape().form == Form::kTrain) {
    buffers.dense = AllocateDevice(images * largest * element);
    buffers.sampled = AllocateDevice(images * plan_.sizes[1].height * plan_.sizes[1].width * 3 * element);
  }
  buffers.gates = AllocateDevice(gates * sizeof(float));
  const int last_pixels = plan_.sizes.back().height * plan_.sizes.back().width;
  const size_t sums = images * PooledParts(last_pixels) * channels;
  buffers.pooled = AllocateDevice(blocks_.back().CanPool() ? sums * sizeof(double) : 0);
  return buffers;
}

size_t CudaNetwork::Values(Output output) const {
  return output == Output::kLogits ? shape().num_classes : shape().embedding_channels();
}

int CudaNetwork::GraphBatch(int images) const {
  return std::min(chunk_, static_cast<int>(std::bit_ceil(static_cast<unsigned>(images))));
}

const Graph& CudaNetwork::GraphFor(const Buffers& buffers, Slot& slot, int batch) const {
  Graph& graph = slot.graphs[batch];
  if (graph == nullptr) {
    graph = CaptureGraph(compute_.get(), [&] {
      EnqueueBlocks(buffers, batch);
      EnqueueHead(buffers, slot, batch);
    });
  }
  return graph;
}

// Map i, the input of block i, lies in buffer (i - 1) % 2.
void CudaNetwork::EnqueueBlock(const Buffers& buffers, size_t index, int first, int batch) const {
  const auto image_of = [&](size_t map) {
    return static_cast<unsigned char*>(buffers.maps[(map - 1) % 2].get()) +
           plan_.elements[map] * first * ElementSize(precision_);
  };
  BlockBuffers own;
  own.in = index == 0 ? buffers.pixels.get() : image_of(index);
  own.out = image_of(index + 1);
  own.normalized = static_cast<const float*>(normalized_.get());
  own.dense = buffers.dense.get();
  own.sampled = buffers.sampled.get();
  own.gates = static_cast<float*>(buffers.gates.get());
  own.workspace = buffers.workspace;
  if (index + 1 == blocks_.size()) own.pooled = static_cast<double*>(buffers.pooled.get());
  own.transformed_in = index > 0 && blocks_[index - 1].LeadsInto(blocks_[index]);
  own.transformed_out = index + 1 < blocks_.size() && blocks_[index].LeadsInto(blocks_[index + 1]);
  blocks_[index].Enqueue(own, batch, compute_.get());
}

// Blocks that hand the workspace on do so for as many images as it has room for: a few images go through all
// of them before the next ones do.
void CudaNetwork::EnqueueBlocks(const Buffers& buffers, int batch) const {
  for (size_t first = 1, end; first < blocks_.size(); first = end) {
    int most = batch;
    for (end = first + 1; end < blocks_.size() && blocks_[end - 1].LeadsInto(blocks_[end]); ++end) {
      most = std::min({most, blocks_[end - 1].SliceImages(batch), blocks_[end].SliceImages(batch)});
    }
    for (int image = 0; image < batch; image += most) {
      for (size_t i = first; i < end; ++i) EnqueueBlock(buffers, i, image, std::min(most, batch - image));
    }
  }
}

void CudaNetwork::EnqueueHead(const Buffers& buffers, const Slot& slot, int batch) const {
  const MapSize size = plan_.sizes.back();
  const int channels = shape().embedding_channels(), pixels = size.height * size.width;
  float* const embeddings = static_cast<float*>(slot.embeddings.get());
  const void* const map = buffers.maps[(blocks_.size() - 1) % 2].get();
  const auto* const pooled = static_cast<const double*>(buffers.pooled.get());
  Check(pooled == nullptr ? LaunchPool(map, precision_, batch, pixels, channels, embeddings, compute_.get())
                          : LaunchPoolParts(pooled, batch, pixels, channels, embeddings, compute_.get()),
        kRunning);
  if (shape().num_classes == 0) return;
  Check(LaunchLinear({embeddings, static_cast<const float*>(linear_weight_.get()),
                      static_cast<const float*>(linear_bias_.get()), static_cast<float*>(slot.logits.get()),
                      batch, shape().num_classes, channels, Activation::kNone},
                     compute_.get()),
        kRunning);
}

// The calling thread copies piece after piece; the GPU fetches one while the next is copied.
void CudaNetwork::UploadPixels(const uint8_t* pixels, size_t bytes) {
  for (size_t at = 0; at < bytes; at += kPieceBytes, next_piece_ ^= 1) {
    const size_t size = std::min(kPieceBytes, bytes - at);
    const Event& free = piece_free_[next_piece_];
    Wait(free, kRunning);
    void* const piece = buffers_->pieces[next_piece_].get();
    CopyInParts(static_cast<unsigned char*>(piece), pixels + at, size);
    Check(cudaMemcpyAsync(static_cast<uint8_t*>(buffers_->pixels.get()) + at, piece, size,
                          cudaMemcpyHostToDevice, upload_.get()),
          kRunning);
    Check(cudaEventRecord(free.get(), upload_.get()), kRunning);
  }
}

void CudaNetwork::CopyInParts(unsigned char* to, const uint8_t* from, size_t bytes) {
  const size_t part = std::max(bytes / (kCopiers + 1) + 1, kLeastPart);
  std::latch copied(kCopiers);
  for (int i = 0; i < kCopiers; ++i) {
    const size_t begin = std::min(bytes, (i + 1) * part), end = std::min(bytes, begin + part);
    if (begin == end) {
      copied.count_down();
    } else {
      copiers_[i].Post([=, &copied] {
        std::memcpy(to + begin, from + begin, end - begin);
        copied.count_down();
      });
    }
  }
  std::memcpy(to, from, std::min(bytes, part));
  copied.wait();
}

// From the pixels that are uploaded to the slot's results.
void CudaNetwork::EnqueueChunk(int images, Output output, Slot& slot) {
  const int graph_batch = GraphBatch(images);
  const Graph& graph = GraphFor(*buffers_, slot, graph_batch);
  Check(cudaStreamWaitEvent(compute_.get(), uploaded_.get(), 0), kRunning);
  EnqueueBlock(*buffers_, 0, 0, graph_batch);
  Check(cudaEventRecord(stem_done_.get(), compute_.get()), kRunning);
  Check(cudaGraphLaunch(graph.get(), compute_.get()), kRunning);
  Check(cudaEventRecord(computed_.get(), compute_.get()), kRunning);

  Check(cudaStreamWaitEvent(download_.get(), computed_.get(), 0), kRunning);
  const DeviceMemory& result = output == Output::kLogits ? slot.logits : slot.embeddings;
  Check(cudaMemcpyAsync(slot.results.get(), result.get(), images * Values(output) * sizeof(float),
                        cudaMemcpyDeviceToHost, download_.get()),
        kRunning);
  Check(cudaEventRecord(slot.downloaded.get(), download_.get()), kRunning);
}

void CudaNetwork::RunChunks(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled,
                            const std::shared_ptr<std::exception_ptr>& failure) {
  const size_t image_bytes = size_t{3} * shape().height * shape().width;
  for (int first = 0; first < batch.count; first += chunk_) {
    if (cancelled()) throw Error(kAborted, "The run was aborted.");
    const int images = std::min(chunk_, batch.count - first);
    // The pixels may be replaced once the last chunk's first block has read them.
    Check(cudaStreamWaitEvent(upload_.get(), stem_done_.get(), 0), kRunning);
    UploadPixels(batch.pixels + first * image_bytes, images * image_bytes);
    Check(cudaEventRecord(uploaded_.get(), upload_.get()), kRunning);

    free_slots_.acquire();  // Slots become free in the order in which they were taken.
    Slot& slot = buffers_->slots[next_slot_ % kSlots];
    try {
      EnqueueChunk(images, output, slot);
    } catch (...) {
      free_slots_.release();
      throw;
    }
    ++next_slot_;
    collector_.Post([this, &slot, failure, to = out + first * Values(output),
                     bytes = images * Values(output) * sizeof(float)] {
      try {
        OnDevice([&] { Wait(slot.downloaded, kRunning); });
        std::memcpy(to, slot.results.get(), bytes);
      } catch (...) {
        *failure = std::current_exception();
      }
      free_slots_.release();
    });
  }
}

// Pixels are uploaded once and nothing is downloaded. Two runs are enqueued at any time, so that the GPU is
// never without work.
double CudaNetwork::MeasureRate(const ImageBatch& batch, double seconds, const Cancelled& cancelled) {
  using Clock = std::chrono::steady_clock;
  double rate = 0;
  OnDevice([&] {
    if (buffers_ == nullptr) Prepare();
    const int images = std::min(chunk_, batch.count), graph_batch = GraphBatch(images);
    // What can want for memory comes first: from where slots are taken, only a lost device ends this early.
    const Graph& graph = GraphFor(*buffers_, buffers_->slots[0], graph_batch);
    const Event over[2] = {MakeEvent(EventUse::kThread), MakeEvent(EventUse::kThread)};
    for (int i = 0; i < kSlots; ++i) free_slots_.acquire();  // Runs under way are over then.
    UploadPixels(batch.pixels, size_t{3} * shape().height * shape().width * images);
    Check(cudaStreamSynchronize(upload_.get()), kRunning);
    const Clock::time_point start = Clock::now();
    int runs = 0;
    while (std::chrono::duration<double>(Clock::now() - start).count() < seconds || runs == 0) {
      if (cancelled()) break;
      const Event& own = over[runs++ % 2];
      Wait(own, kRunning);
      EnqueueBlock(*buffers_, 0, 0, graph_batch);
      Check(cudaGraphLaunch(graph.get(), compute_.get()), kRunning);
      Check(cudaEventRecord(own.get(), compute_.get()), kRunning);
    }
    Check(cudaStreamSynchronize(compute_.get()), kRunning);
    rate = runs * images / std::chrono::duration<double>(Clock::now() - start).count();
    for (int i = 0; i < kSlots; ++i) free_slots_.release();
  });
  if (cancelled()) throw Error(kAborted, "The measurement was aborted.");
  return rate;
}

std::string CudaNetwork::Describe() const {
  std::string text = "{\"batchSize\": " + std::to_string(chunk_) + ", \"layers\": [";
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Choice* const choice = blocks_[i].choice();
    text += i == 0 ? "\n" : ",\n";
    if (choice == nullptr) {
      text += "{\"algorithm\": \"stem\", \"source\": \"only\", \"microseconds\": {}}";
      continue;
    }
    text += "{\"algorithm\": \"" + choice->candidate.name + "\", \"source\": \"" + choice->source +
            "\", \"microseconds\": " + ToJson(choice->timings) + "}";
  }
  return text + "\n]}";
}

}  // namespace repvgg::cuda
