#pragma once

#include <memory>
#include <vector>

#include "cpu/bf16_convolution.h"
#include "cpu/bf16_input.h"
#include "cpu/bf16_maps.h"
#include "cpu/cpu_network.h"

namespace repvgg::cpu {

// A network in bf16; deploy form only.
class Bf16Network : public CpuNetwork<Bf16Maps> {
 public:
  Bf16Network(NetworkShape shape, const KernelTable& kernels, const Bf16Kernels& bf16,
              std::shared_ptr<ThreadPool> pool, BackendOptions options);

  void SetBlock(size_t index, const DeployBlock& block) override;
  void SetBlock(size_t index, const TrainBlock& block) override;

 private:
  struct Block {
    std::unique_ptr<Bf16ConvolutionLayer> convolution;
    Gate gate;
  };

  Bf16Maps MapsAt(size_t point, Bf16* data) const override;
  void ReadPixels(const ImageBatch& batch, const Bf16Maps& out) override;
  void RunBlock(size_t index, int images, const Bf16Maps& in, const Bf16Maps& out) override;
  void PoolImage(const Bf16Maps& maps, int image, float* mean) const override;
  void GateImage(const Bf16Maps& maps, int image, const float* gate, bool relu) const override;

  const Bf16Kernels& bf16_;
  const Bf16Input input_;
  const std::vector<Bf16Plane> planes_;  // Of the blocks' outputs.
  std::vector<Block> blocks_;
};

}  // namespace repvgg::cpu
