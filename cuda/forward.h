// A network's layers on the device: their parameters, the memory that a batch needs, and the launches.
#pragma once

#include <vector>

#include "cuda/block.h"

namespace repvgg::cuda {

// What a batch needs beside the parameters. Maps lie in two buffers, and each block reads one and writes the
// other.
struct BatchBuffers {
  DeviceMemory pixels, maps[2], dense, sampled, gates, pooled;
  void* workspace = nullptr;  // In one of the maps' buffers.
};

class Forward {
 public:
  // `shape` must outlive it. See Block for `workspace_limit`.
  Forward(const NetworkShape& shape, Precision precision, size_t workspace_limit);

  Block& block(size_t index) { return blocks_[index]; }
  const Block& block(size_t index) const { return blocks_[index]; }
  void SetLinear(const Linear& linear);

  // The most images for which every index into a map stays an int, and which kernels can be launched for.
  int MostImages() const;
  // Zeroes the pixels on `stream`: a graph may be for more images than a run has, and computes those from
  // whatever is there.
  BatchBuffers Allocate(int batch, cudaStream_t stream) const;
  // The first block, from the pixels, or the first two, if one kernel computes them.
  void EnqueueFirst(const BatchBuffers& buffers, int batch, cudaStream_t stream) const;
  // All others, and the head; `logits` only where there is a classifier.
  void EnqueueRest(const BatchBuffers& buffers, int batch, float* embeddings, float* logits,
                   cudaStream_t stream) const;
  // What engine/topk.h gives of the logits: [batch][k].
  void EnqueueTopK(const float* logits, int batch, int k, int32_t* indices, float* scores,
                   cudaStream_t stream) const;

 private:
  // The block that reads the pixels: the first, or the second where that computes both.
  size_t Reader() const { return blocks_.size() > 1 && blocks_[1].ComputesFirst() ? 1 : 0; }
  // Images `first` to `first + batch`, which all but the one that reads the pixels can do
  // alone.
  void EnqueueBlock(const BatchBuffers& buffers, size_t index, int first, int batch,
                    cudaStream_t stream) const;

  const NetworkShape& shape_;
  const Precision precision_;
  const MemoryPlan plan_;
  std::vector<Block> blocks_;
  DeviceMemory linear_weight_, linear_bias_;
};

}  // namespace repvgg::cuda
