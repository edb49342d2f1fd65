// A RepVGG block on the device: its parameters, and the launches that run it.
#pragma once

#include "cuda/chooser.h"
#include "cuda/device_memory.h"
#include "cuda/stem.h"
#include "engine/memory_plan.h"
#include "engine/network.h"

namespace repvgg::cuda {

class Block;

// The buffers of a block, owned by the network.
struct BlockBuffers {
  const void* in = nullptr;  // Pixels for the first block, a map for the others.
  // The previous block if this one computes it as well; `in` is then that block's input.
  const Block* ahead = nullptr;
  void* out = nullptr;
  void* dense = nullptr;      // Train form: a map of the block's output size.
  void* sampled = nullptr;    // Train form, first block: every second pixel, normalised.
  float* gates = nullptr;     // Squeeze-and-excite: scratch.
  void* workspace = nullptr;  // Convolution::workspace, and so on.
  bool transformed_in = false;
  bool transformed_out = false;
  double* pooled = nullptr;  // Last block only, if it pools itself.
};

class Block {
 public:
  // `in` is the size of the map that the block reads. The first block reads pixels, with stride 2
  // (cuda/stem.h). `workspace_limit` bounds the workspace, in bytes, that chained Winograd layers share for a
  // slice of the batch (SliceImages), except that one image is always allowed.
  Block(const NetworkShape& network, size_t index, MapSize in, Precision precision, size_t workspace_limit);

  // `choice` must stay valid. The first block's choice is that of the first two layers together, or null.
  void Set(const DeployBlock& block, const Choice* choice);
  void Set(const TrainBlock& block, const Choice* choice);

  // The 3x3 convolution without pointers, as the chooser takes it.
  Convolution Layer(int batch) const;
  // The first block's convolution without pointers.
  Stem StemLayer(int batch) const;
  const Choice* choice() const { return choice_; }
  // Floats that BlockBuffers::gates needs.
  size_t GateScratch(int batch) const;
  // The number of images of a batch that fit the workspace at a time.
  int SliceImages(int batch) const;
  // Bytes that BlockBuffers::workspace needs.
  size_t Workspace(int batch) const;

  // Whether this block also computes the one before it, the first.
  bool ComputesFirst() const;
  // Whether this block can pass its output to `next` in the Winograd domain.
  bool LeadsInto(const Block& next) const;
  // Whether this block, as the last one, can write sums over pixels instead of a map.
  bool CanPool() const;
  void Enqueue(const BlockBuffers& buffers, int batch, cudaStream_t stream) const;

 private:
  struct DeviceAffine {
    DeviceMemory scale, shift;
  };

  void SetConvolution(Floats weight, Floats bias, const Choice* choice);
  void SetGate(const SqueezeExcite& gate);
  static DeviceAffine UploadAffine(const BatchNorm& batch_norm);
  Stem StemFrom(const void* pixels, void* out, bool relu, int batch) const;
  void EnqueueConvolution(const BlockBuffers& buffers, void* out, bool relu, int batch,
                          cudaStream_t stream) const;
  void EnqueueBranches(const BlockBuffers& buffers, bool relu, int batch, cudaStream_t stream) const;

  const BlockShape shape_;
  const Form form_;
  const SqueezeExcitePosition squeeze_excite_;
  const bool first_;
  const MapSize in_;
  const Precision precision_;
  const size_t workspace_limit_;
  const std::array<float, 3> mean_, stddev_;
  const Choice* choice_ = nullptr;
  DeviceMemory weight_, bias_, scale_;
  DeviceMemory normalized_;  // First block: NormalizationTable.
  // Train form.
  DeviceMemory pointwise_, pointwise_bias_, sampling_weight_, sampling_bias_;
  DeviceAffine dense_affine_, pointwise_affine_, identity_affine_;
  DeviceMemory down_weight_, down_bias_, up_weight_, up_bias_;
};

}  // namespace repvgg::cuda
