#pragma once

#include <memory>
#include <vector>

#include "cpu/cpu_network.h"
#include "cpu/fp32_convolution.h"
#include "cpu/maps.h"
#include "engine/normalization.h"

namespace repvgg::cpu {

// A network in fp32, in either form. With precision kFp8 it simulates fp8 (cpu/fp8_simulation.h).
class Fp32Network : public CpuNetwork<Fp32Maps> {
 public:
  Fp32Network(NetworkShape shape, const KernelTable& kernels, std::shared_ptr<ThreadPool> pool,
              BackendOptions options);

  void SetBlock(size_t index, const DeployBlock& block) override;
  void SetBlock(size_t index, const TrainBlock& block) override;
  std::shared_ptr<KernelSink> MakeSink(size_t index) override;

 private:
  struct Block {
    std::unique_ptr<Fp32Convolution> dense;      // The fused convolution in the deploy form.
    std::unique_ptr<Fp32Convolution> pointwise;  // The rest is for the train form only.
    ChannelAffine dense_affine, pointwise_affine, identity_affine;
    Gate gate;
  };

  Fp32Maps MapsAt(size_t point, float* data) const override;
  void ReadPixels(const ImageBatch& batch, const Fp32Maps& out) override;
  void RunBlock(size_t index, int images, const Fp32Maps& in, const Fp32Maps& out) override;
  void PoolImage(const Fp32Maps& maps, int image, float* mean) const override;
  void GateImage(const Fp32Maps& maps, int image, const float* gate, bool relu) const override;

  class DirectSink;

  std::unique_ptr<Fp32Convolution> MakeDense(size_t index, Floats weight, Floats bias);
  void AllocateBranches();
  void RunBranches(const Block& block, int images, const Fp32Maps& in, const Fp32Maps& out, bool relu);

  std::vector<Block> blocks_;
  std::vector<std::shared_ptr<DirectSink>> sinks_;  // Of blocks not yet set.
  HugeArray<float> branches_[2];
  Scratch scratch_;
  const Chooser chooser_;
};

}  // namespace repvgg::cpu
