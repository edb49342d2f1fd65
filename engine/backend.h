// The seam between the engine and the places it can run. A backend is one folder that implements these two
// classes and one line in engine/registry.cc; backends do not know each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "engine/network.h"

namespace repvgg {

// Images of the network's input size, height x width x 3, RGB, 0..255, back to back.
struct ImageBatch {
  const uint8_t* pixels = nullptr;
  int count = 0;
};

enum class Output {
  kEmbedding,  // The globally average-pooled features of the last block: [count][embedding_channels].
  kLogits,     // The classifier's output: [count][num_classes].
  kTopK,       // The k likeliest classes, as engine/topk.h ranks them: [count][k].
  kRanges,     // NetworkShape::ranges of all images together: [total_channels]. The CPU's fp32 only.
};

// What a run gives of its images, and where to.
struct Results {
  Output output = Output::kLogits;
  int k = 0;                   // Of kTopK: 1 to num_classes.
  float* values = nullptr;     // Of kTopK the softmax probabilities.
  int32_t* indices = nullptr;  // Of kTopK.

  // How many values there are of so many images.
  size_t Count(const NetworkShape& shape, int images) const {
    if (output == Output::kRanges) return shape.total_channels();
    const int each = output == Output::kTopK     ? k
                     : output == Output::kLogits ? shape.num_classes
                                                 : shape.embedding_channels();
    return static_cast<size_t>(images) * each;
  }
};

// Asked between layers; true ends the run with Error{kAborted}.
using Cancelled = std::function<bool()>;

// Called once, on any thread: with nullptr when the work is over, or with what went wrong.
using Done = std::function<void(std::exception_ptr)>;

// A network prepared for one device. Called from one thread at a time.
class Network {
 public:
  explicit Network(NetworkShape shape) : shape_(std::move(shape)) {}
  virtual ~Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const NetworkShape& shape() const { return shape_; }

  // Parameters are copied (in the backend's own layout) before these return. Every block is set once before
  // Run.
  virtual void SetBlock(size_t index, const DeployBlock& block) = 0;
  virtual void SetBlock(size_t index, const TrainBlock& block) = 0;
  virtual void SetLinear(const Linear& linear) = 0;

  // Where the kernels of a block of the deploy form can be put before it is set, beside which other blocks
  // may be set; null where the backend needs all of them at a time.
  virtual std::shared_ptr<KernelSink> MakeSink(size_t) { return nullptr; }

  // Writes the results of every image, in order. They do not depend on how images are split into batches.
  // Throws, or calls `done` once they are complete. A backend that overlaps runs returns before that, as soon
  // as another run can be started; pixels and arrays must stay until `done`. Runs end in their order, and the
  // destructor waits for them.
  virtual void Run(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
                   const Done& done) = 0;

  // The speed of the network alone: runs the batch again and again for about so many seconds, with pixels and
  // results where the device has them. Images per second. This one is for backends whose runs are over when
  // Run returns.
  virtual double MeasureRate(const ImageBatch& batch, double seconds, const Cancelled& cancelled);

  // How the network runs, as JSON: the batch size in use, and for each block the algorithm, where that choice
  // comes from, the times of a run it rests on, and, where the backend measures it, what an image took in the
  // runs so far. Empty where the backend has nothing to tell.
  virtual std::string Describe() const { return {}; }

 private:
  NetworkShape shape_;
};

struct BackendOptions {
  std::string precision = "fp32";
  int threads = 0;              // CPU: 0 takes every core that the process may use.
  std::string instruction_set;  // CPU: empty takes the best that the processor has.
  std::string algorithm;  // "direct", "f2", "f4x2", "f4" or "fused" wherever it can be used; empty chooses.
  std::string winograd = "auto";  // What may be chosen: "auto", "off", "f2" or "f4" (docs/kernels.md).
  int batch_size = 1;             // Images that a run will usually have. Any number works.
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::unique_ptr<Network> CreateNetwork(NetworkShape shape) = 0;
};

}  // namespace repvgg
