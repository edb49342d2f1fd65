#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "cpu/chooser.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"
#include "engine/backend.h"
#include "engine/huge_array.h"
#include "engine/memory_plan.h"

namespace repvgg::cpu {

// The most images that pass through the late blocks together, unless there are more threads. With 8 or more,
// reading weights costs little compared with using them.
constexpr int kMostImagesTogether = 8;

// The base class of Fp32Network and Bf16Network.
//
// The early blocks of a network have large maps and small weights, the late ones small maps and large
// weights. Images therefore pass through the early blocks a few at a time, one per thread, whose own cache
// still holds the image it has just written. They are then collected and pass through the late blocks
// together, so that each weight is read from memory once for all of them.
//
// Maps is the type of activations, Fp32Maps or Bf16Maps.
template <class Maps>
class CpuNetwork : public Network {
 public:
  void SetLinear(const Linear& linear) override;
  void Run(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
           const Done& done) override;
  std::string Describe() const override;

 protected:
  using Value = typename Maps::Value;

  struct Gate {
    std::vector<float> down_weight, down_bias, up_weight, up_bias;
  };

  // `plan` gives the elements of each map in its stored layout.
  CpuNetwork(NetworkShape shape, const KernelTable& kernels, std::shared_ptr<ThreadPool> pool,
             BackendOptions options, MemoryPlan plan);

  static Gate CopyGate(const SqueezeExcite& squeeze_excite);
  void SqueezeAndExcite(const Gate& gate, int images, const Maps& maps, bool relu);

  // The input maps of block `point`; for the number of blocks, the network's output maps.
  virtual Maps MapsAt(size_t point, Value* data) const = 0;
  virtual void ReadPixels(const ImageBatch& batch, const Maps& out) = 0;
  virtual void RunBlock(size_t index, int images, const Maps& in, const Maps& out) = 0;
  // The mean over the pixels of each channel.
  virtual void PoolImage(const Maps& maps, int image, float* mean) const = 0;
  // maps = relu(maps * gate), gate[channels]
  virtual void GateImage(const Maps& maps, int image, const float* gate, bool relu) const = 0;

  const KernelTable& kernels_;
  const std::shared_ptr<ThreadPool> pool_;
  const BackendOptions options_;
  const MemoryPlan plan_;
  const size_t first_late_block_;
  const int images_together_;
  const int images_early_;
  std::vector<Choice> choices_;  // Per block.
  float* ranges_ = nullptr;      // Where the current run accumulates Output::kRanges, or null.

 private:
  struct Record {
    std::chrono::steady_clock::duration time{};  // Of all runs,
    size_t images = 0;                           // of so many images.
  };

  void AllocateMaps();
  // Runs all blocks for at most images_together_ images.
  Maps RunImages(const ImageBatch& batch, const Cancelled& cancelled);
  // Runs blocks first to last - 1; map `first` is in buffers[0] already.
  Maps RunBlocks(size_t first, size_t last, HugeArray<Value> (&buffers)[2], int images,
                 const Cancelled& cancelled);

  std::vector<Record> records_;
  std::vector<float> linear_weight_, linear_bias_;
  bool allocated_ = false;
  HugeArray<Value> early_[2], late_[2];
};

}  // namespace repvgg::cpu
