#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "cpu/algorithm_choice.h"
#include "cpu/bf16_kernels.h"
#include "cpu/convolution_layer.h"
#include "cpu/input_values.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"
#include "engine/backend.h"
#include "engine/memory_plan.h"

namespace repvgg::cpu {

// The first blocks of a network have large maps and small weights, the last ones small maps and large
// weights. Images therefore pass the first blocks a few at a time, one for each thread, which then finds in
// its own cache the image that it has just written; they are collected, and pass the last blocks together, so
// that each weight is read from memory once for all of them.
//
// T is the type of activations: float, or Bf16 (deploy form only). In "fp8" it is float, and fp8 is
// simulated (cpu/fp8_simulation.h).
template <class T>
class CpuNetwork : public Network {
 public:
  // `bf16` is needed for Bf16 only.
  CpuNetwork(NetworkShape shape, const KernelTable& kernels, const Bf16Kernels* bf16,
             std::shared_ptr<ThreadPool> pool, BackendOptions options);

  void SetBlock(size_t index, const DeployBlock& block) override;
  void SetBlock(size_t index, const TrainBlock& block) override;
  void SetLinear(const Linear& linear) override;
  void Run(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled,
           const Done& done) override;
  std::string Describe() const override;

 private:
  // Batch normalisation at inference, per channel: y = scale * x + shift.
  struct Affine {
    std::vector<float> scale, shift;
  };
  struct Gate {
    std::vector<float> down_weight, down_bias, up_weight, up_bias;
  };
  struct Block {
    std::unique_ptr<ConvolutionLayer<T>> dense;      // The fused convolution in the deploy form.
    std::unique_ptr<ConvolutionLayer<T>> pointwise;  // The rest is for the train form only.
    Affine dense_affine, pointwise_affine, identity_affine;
    Gate gate;
  };

  struct Record {
    AlgorithmChoice choice;
    std::chrono::steady_clock::duration time{};  // Of all runs,
    size_t images = 0;                           // of so many images.
  };

  static Affine MakeAffine(const BatchNorm& batch_norm);
  static Gate CopyGate(const SqueezeExcite& squeeze_excite);

  void AllocateMaps();
  std::unique_ptr<ConvolutionLayer<T>> MakeDense(size_t index, Floats weight, Floats bias);
  const MapKernels<T>& MapFunctions() const;
  // Runs all blocks for at most images_together_ images.
  Maps<T> RunImages(const ImageBatch& batch, const Cancelled& cancelled);
  // Runs blocks first to last - 1; map `first` is in buffers[0] already.
  Maps<T> RunBlocks(size_t first, size_t last, HugeArray<T> (&buffers)[2], int images,
                    const Cancelled& cancelled);
  void RunBlock(size_t index, int images, const Maps<T>& in, const Maps<T>& out);
  InputValues<T> MakeInputValues() const;
  void Normalize(const ImageBatch& batch, const Maps<T>& out);
  void RunBranches(const Block& block, int images, const Maps<T>& in, const Maps<T>& out, bool relu);
  void SqueezeAndExcite(const Gate& gate, int images, const Maps<T>& maps, bool relu);
  void PoolImage(const Maps<T>& maps, int image, float* mean);

  const KernelTable& kernels_;
  const Bf16Kernels* bf16_;
  std::shared_ptr<ThreadPool> pool_;
  const BackendOptions options_;
  const MemoryPlan plan_;
  size_t first_late_block_ = 0;
  int images_early_ = 0;
  int images_together_ = 0;
  std::vector<Block> blocks_;
  std::vector<Record> records_;
  std::vector<float> linear_weight_, linear_bias_;
  bool allocated_ = false;
  float* ranges_ = nullptr;  // Of a run that wants them.
  HugeArray<T> early_[2], late_[2], branches_[2];
  Scratch scratch_;
};

}  // namespace repvgg::cpu
