#pragma once

#include <map>
#include <vector>

#include "cuda/block.h"
#include "cuda/chooser.h"
#include "cuda/device_memory.h"
#include "engine/backend.h"

namespace repvgg::cuda {

// A network on one GPU. Maps lie in two buffers, and each block reads one and writes the other; everything
// behind the first block is one graph for each batch size. A run goes through the network in chunks of the
// model's batch size, while three streams work on three chunks: the pixels of the next are uploaded (from
// small page-locked pieces that the calling thread fills), this one is computed, and the results of the last
// one are downloaded.
//
// Results do not depend on how images are split into batches: an image's sums never involve another image,
// and the algorithm of a layer is fixed when the layer is loaded.
class CudaNetwork : public Network {
 public:
  // `options.batch_size` is the chunk. The chunk is halved, again and again, if the GPU has not enough memory
  // for it; Describe says what it became.
  CudaNetwork(NetworkShape shape, Precision precision, const BackendOptions& options, DeviceTraits device,
              MeasureLayer measure);
  ~CudaNetwork() override;

  void SetBlock(size_t index, const DeployBlock& block) override;
  void SetBlock(size_t index, const TrainBlock& block) override;
  void SetLinear(const Linear& linear) override;
  void Run(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled) override;
  std::string Describe() const override;

 private:
  // What a batch needs beside the weights. Allocated at the first run.
  struct Buffers {
    DeviceMemory pixels, maps[2], dense, sampled, gates, embeddings, logits;
    PinnedMemory pieces[2], results[2];
    std::map<int, Graph> graphs;  // By batch size.
  };

  // Runs `work` on this network's device; an error of the device is remembered.
  template <typename Work>
  void OnDevice(Work work);
  void Prepare();
  Buffers Allocate(int chunk) const;
  // The smallest of the chunk, and the powers of two below it, that holds so many images.
  int GraphBatch(int images) const;
  const Graph& GraphFor(Buffers& buffers, int batch) const;
  void EnqueueBlock(const Buffers& buffers, size_t index, int batch) const;
  void EnqueueHead(const Buffers& buffers, int batch) const;
  void UploadPixels(const uint8_t* pixels, size_t bytes);
  void RunChunks(const ImageBatch& batch, Output output, float* out, const Cancelled& cancelled);

  const Precision precision_;
  const DeviceTraits device_;
  const MemoryPlan plan_;
  Chooser chooser_;
  int chunk_;
  bool lost_ = false;
  std::vector<Block> blocks_;
  DeviceMemory normalized_, linear_weight_, linear_bias_;
  Stream upload_, compute_, download_;
  Event piece_free_[2], uploaded_, stem_done_, computed_, downloaded_[2];
  size_t next_piece_ = 0;
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace repvgg::cuda
