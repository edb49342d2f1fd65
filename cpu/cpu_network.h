#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cpu/convolution_layer.h"
#include "cpu/huge_array.h"
#include "cpu/kernels.h"
#include "cpu/maps.h"
#include "cpu/thread_pool.h"
#include "engine/backend.h"
#include "engine/memory_plan.h"

namespace repvgg::cpu {

// The first blocks of a network have large maps and small weights, the last ones small maps and large
// weights. Images therefore pass the first blocks a few at a time, one for each thread, which then finds in
// its own cache the image that it has just written; they are collected, and pass the last blocks together, so
// that each weight is read from memory once for all of them.
class CpuNetwork : public Network {
 public:
  CpuNetwork(NetworkShape shape, const KernelTable& kernels, std::shared_ptr<ThreadPool> pool,
             BackendOptions options);

  void SetBlock(size_t index, const DeployBlock& block) override;
  void SetBlock(size_t index, const TrainBlock& block) override;
  void SetLinear(const Linear& linear) override;
  void Run(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled) override;

 private:
  // Batch normalisation at inference, per channel: y = scale * x + shift.
  struct Affine {
    std::vector<float> scale, shift;
  };
  struct Gate {
    std::vector<float> down_weight, down_bias, up_weight, up_bias;
  };
  struct Block {
    ConvolutionLayer dense;      // The fused convolution in the deploy form.
    ConvolutionLayer pointwise;  // The rest is for the train form only.
    Affine dense_affine, pointwise_affine, identity_affine;
    Gate gate;
  };

  static Affine MakeAffine(const BatchNorm& batch_norm);
  static Gate CopyGate(const SqueezeExcite& squeeze_excite);

  ConvolutionLayer MakeDense(size_t index, Floats weight, Floats bias);
  // Runs all blocks for at most images_together_ images.
  Maps RunImages(const ImageBatch& batch, const Cancelled& cancelled);
  // Runs blocks first to last - 1; map `first` is in buffers[0] already.
  Maps RunBlocks(size_t first, size_t last, HugeArray (&buffers)[2], int images, const Cancelled& cancelled);
  void RunBlock(size_t index, int images, const Maps& in, const Maps& out);
  void Normalize(const ImageBatch& batch, const Maps& out);
  void SumBranches(const Block& block, int images, const Maps& in, const Maps& dense, const Maps& pointwise,
                   const Maps& out, bool relu);
  void SqueezeAndExcite(const Gate& gate, int images, const Maps& maps, bool relu);
  void PoolImage(const Maps& maps, int image, float* mean);

  const KernelTable& kernels_;
  std::shared_ptr<ThreadPool> pool_;
  const BackendOptions options_;
  const MemoryPlan plan_;
  size_t first_late_block_ = 0;
  int images_early_ = 0;
  int images_together_ = 0;
  std::vector<Block> blocks_;
  std::vector<float> linear_weight_, linear_bias_;
  HugeArray early_[2], late_[2], branches_[2];
  Scratch scratch_;
};

}  // namespace repvgg::cpu
