// A network's layers on the device: parameters, the memory of a batch, and the launches.
#pragma once

#include <vector>

#include "cuda/block.h"

namespace repvgg::cuda {

// The memory of a batch besides the parameters. Maps alternate between two buffers: each block reads one and
// writes the other.
struct BatchBuffers {
  DeviceMemory pixels, maps[2], dense, sampled, gates, pooled;
  void* workspace = nullptr;  // Lies in one of the maps' buffers.
};

class Forward {
 public:
  // `shape` must outlive this object. See Block for `workspace_limit`.
  Forward(const NetworkShape& shape, Precision precision, size_t workspace_limit);

  Block& block(size_t index) { return blocks_[index]; }
  const Block& block(size_t index) const { return blocks_[index]; }
  void SetLinear(const Linear& linear);

  // The largest batch for which element indices of all maps fit an int and grids stay within their limits.
  int MostImages() const;
  // Clears the pixels on `stream`: the graph of a run may be for more images than it has, and computes them
  // from whatever is there.
  BatchBuffers Allocate(int batch, cudaStream_t stream) const;
  // Enqueues the first block, or the first two if they are fused.
  void EnqueueFirst(const BatchBuffers& buffers, int batch, cudaStream_t stream) const;
  // Enqueues all other blocks and the head; `logits` is unused without a classifier.
  void EnqueueRest(const BatchBuffers& buffers, int batch, float* embeddings, float* logits,
                   cudaStream_t stream) const;
  // Enqueues the ranking of engine/topk.h; results are [batch][k].
  void EnqueueTopK(const float* logits, int batch, int k, int32_t* indices, float* scores,
                   cudaStream_t stream) const;

 private:
  // The block that reads the pixels: the first, or the second if the two are fused.
  size_t Reader() const { return blocks_.size() > 1 && blocks_[1].ComputesFirst() ? 1 : 0; }
  // Enqueues block `index` for images `first` to `first + batch`; the block that reads the pixels always
  // takes the whole batch.
  void EnqueueBlock(const BatchBuffers& buffers, size_t index, int first, int batch,
                    cudaStream_t stream) const;

  const NetworkShape& shape_;
  const Precision precision_;
  const MemoryPlan plan_;
  std::vector<Block> blocks_;
  DeviceMemory linear_weight_, linear_bias_;
};

}  // namespace repvgg::cuda
