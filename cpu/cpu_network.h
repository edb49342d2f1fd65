#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cpu/huge_array.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"
#include "cpu/winograd.h"
#include "engine/backend.h"
#include "engine/memory_plan.h"

namespace repvgg::cpu {

// Activations of several images at one point of the network, in the bordered layout of kernels.h.
struct Maps {
  float* data = nullptr;
  MapSize size;
  int channels = 0;

  ptrdiff_t row_stride() const { return static_cast<ptrdiff_t>(size.width + 2) * channels; }
  ptrdiff_t image_stride() const { return static_cast<ptrdiff_t>(size.height + 2) * row_stride(); }
  float* row(int image, int y) const {
    return data + image * image_stride() + (y + 1) * row_stride() + channels;
  }
};

class CpuNetwork : public Network {
 public:
  // `algorithm` is that of BackendOptions.
  CpuNetwork(NetworkShape shape, const KernelTable& kernels, std::shared_ptr<ThreadPool> pool,
             std::string algorithm);

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
    // The 3x3 convolution (the fused one in the deploy form), packed for one of the two algorithms.
    PackedConvolution direct;
    PackedWinograd winograd;
    PackedConvolution pointwise;  // This and the next line are for the train form only.
    Affine dense_affine, pointwise_affine, identity_affine;
    Gate gate;
  };
  static Affine MakeAffine(const BatchNorm& batch_norm);
  static Gate CopyGate(const SqueezeExcite& squeeze_excite);

  void PackDense(size_t index, Floats weight, Floats bias);
  void RunImages(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled);
  void Normalize(const ImageBatch& batch, const Maps& out);
  void RunBlock(size_t index, int images, const Maps& in, const Maps& out);
  void ConvolveDense(const Block& block, int images, const Maps& in, const Maps& out, bool relu);
  void ConvolveDirect(const Convolution& convolution, int images, const Maps& in, const Maps& out, bool relu);
  void ConvolveWinograd(const WinogradConvolution& convolution, int images, const Maps& in, const Maps& out,
                        bool relu);
  void SumBranches(const Block& block, int images, const Maps& in, const Maps& dense, const Maps& pointwise,
                   const Maps& out, bool relu);
  void SqueezeAndExcite(const Gate& gate, int images, const Maps& maps, bool relu);
  void PoolImage(const Maps& maps, int image, float* mean);

  const KernelTable& kernels_;
  std::shared_ptr<ThreadPool> pool_;
  const std::string algorithm_;
  const MemoryPlan plan_;
  // Images that go through the network together: one for each thread. A thread then finds in its own cache,
  // in every layer, the image that it has just written.
  const int images_at_once_;
  std::vector<Block> blocks_;
  std::vector<float> linear_weight_, linear_bias_;
  HugeArray activations_[2], branches_[2];
  std::vector<HugeArray> scratch_;  // Of each thread, for the Winograd transforms.
};

}  // namespace repvgg::cpu
