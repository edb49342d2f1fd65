// The interface between the engine and its backends. A backend is one folder that implements these two
// classes, and a case in each function of engine/registry.cc. Backends do not depend on each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/algorithms.h"
#include "engine/network.h"
#include "engine/precision.h"

namespace repvgg {

// Images of the network's input size, height x width x 3, RGB, 0..255, back to back.
struct ImageBatch {
  const uint8_t* pixels = nullptr;
  int count = 0;
};

enum class Output {
  kEmbedding,  // The globally average-pooled features of the last block: [count][embedding_channels].
  kLogits,     // The classifier's output: [count][num_classes].
  kTopK,       // The k most probable classes, ranked as by engine/topk.h: [count][k].
  kRanges,     // NetworkShape::ranges over all images: [total_channels]. Only in fp32 on the CPU.
};

// What a run computes for its images, and where it writes it.
struct Results {
  Output output = Output::kLogits;
  int k = 0;                   // For kTopK: 1 to num_classes.
  float* values = nullptr;     // For kTopK, softmax probabilities.
  int32_t* indices = nullptr;  // For kTopK.

  // The number of values for this many images.
  size_t Count(const NetworkShape& shape, int images) const {
    if (output == Output::kRanges) return shape.total_channels();
    const int each = output == Output::kTopK     ? k
                     : output == Output::kLogits ? shape.num_classes
                                                 : shape.embedding_channels();
    return static_cast<size_t>(images) * each;
  }
};

// Polled between layers; true ends the run with Error{kAborted}.
using Cancelled = std::function<bool()>;

// Called exactly once, on any thread: with nullptr on success, otherwise with the error.
using Done = std::function<void(std::exception_ptr)>;

// A network prepared for one device. Called from one thread at a time.
class Network {
 public:
  explicit Network(NetworkShape shape) : shape_(std::move(shape)) {}
  virtual ~Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const NetworkShape& shape() const { return shape_; }

  // These copy the parameters, into the backend's own layout, before they return. Every block must be set
  // once before the first Run.
  virtual void SetBlock(size_t index, const DeployBlock& block) = 0;
  virtual void SetBlock(size_t index, const TrainBlock& block) = 0;
  virtual void SetLinear(const Linear& linear) = 0;

  // A sink that takes the kernels of a deploy-form block piecewise before the block is set. Other blocks may
  // be set meanwhile. Null where the backend needs all kernels of a block at once.
  virtual std::shared_ptr<KernelSink> MakeSink(size_t) { return nullptr; }

  // Writes the results of every image, in order; they do not depend on how images are split into batches.
  // Throws, or calls `done` once the results are complete. A backend that overlaps runs may return before
  // that, as soon as the next run can be started; pixels and result arrays must stay valid until `done`. Runs
  // complete in order, and the destructor waits for them.
  virtual void Run(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
                   const Done& done) = 0;

  // The throughput of the network alone, in images per second: runs the batch repeatedly for about `seconds`,
  // with pixels and results in the device's memory. This implementation is for backends whose Run is
  // synchronous.
  virtual double MeasureRate(const ImageBatch& batch, double seconds, const Cancelled& cancelled);

  // How the network runs, as JSON: the batch size in use, and for each block the algorithm, the source of
  // that choice, the timings behind it, and, where the backend measures it, the mean time per image so far.
  virtual std::string Describe() const = 0;

 private:
  NetworkShape shape_;
};

struct BackendOptions {
  Precision precision = Precision::kFp32;
  int threads = 0;  // CPU: 0 uses all cores available to the process.
  // CPU: the name of one of its sets of kernels, which depend on the processor; empty selects the best.
  std::string instruction_set;
  std::optional<ConvolutionAlgorithm> algorithm;  // Pinned for measurements and tests.
  Winograd winograd = Winograd::kAuto;
  int batch_size = 1;  // The expected number of images of a run. Others work too.
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::unique_ptr<Network> CreateNetwork(NetworkShape shape) = 0;
};

}  // namespace repvgg
