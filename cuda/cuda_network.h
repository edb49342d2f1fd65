#pragma once

#include <atomic>
#include <map>
#include <semaphore>
#include <vector>

#include "cuda/chooser.h"
#include "cuda/device_memory.h"
#include "cuda/forward.h"
#include "cuda/serial_thread.h"
#include "cuda/uploader.h"
#include "engine/backend.h"

namespace repvgg::cuda {

// A network on one GPU. Everything behind the first block is one graph for each batch size. A run goes
// through the network in chunks of the model's batch size, and three streams work on three chunks, of one run
// or of several: the pixels of the next are uploaded, this one is computed, and the results of the last one
// are downloaded. Run returns when its last chunk is enqueued; a thread of the network's own waits for the
// downloads and hands them over.
//
// Results do not depend on how images are split into batches: an image's sums never involve another image,
// and the algorithm of a layer is fixed when the layer is loaded.
class CudaNetwork : public Network {
 public:
  // Calls nothing of CUDA: that may take a second at first, and JavaScript's thread makes the network.
  // `options.batch_size` is the chunk. The chunk is halved, again and again, if the GPU has not enough memory
  // for it; Describe says what it became.
  CudaNetwork(NetworkShape shape, Precision precision, const BackendOptions& options, DeviceTraits device,
              MeasureLayer measure);
  ~CudaNetwork() override;

  void SetBlock(size_t index, const DeployBlock& block) override;
  void SetBlock(size_t index, const TrainBlock& block) override;
  void SetLinear(const Linear& linear) override;
  void Run(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
           const Done& done) override;
  double MeasureRate(const ImageBatch& batch, double seconds, const Cancelled& cancelled) override;
  std::string Describe() const override;

 private:
  // What a chunk in flight has of its own: while one slot's results are downloaded, the next chunk's are
  // computed in another.
  static constexpr int kSlots = 2;
  struct Slot {
    DeviceMemory embeddings, logits;
    DeviceMemory ranking;    // For any k: scores, and indices behind them.
    PinnedMemory downloads;  // Of any of these.
    Event downloaded;
    std::map<int, Graph> graphs;  // By batch size.
  };
  // What chunks need beside the weights.
  struct Buffers {
    BatchBuffers batch;
    Slot slots[kSlots];
  };

  // Runs `work` on this network's device; an error of the device is remembered.
  template <typename Work>
  void OnDevice(Work work);
  // The same for `work` that only loads parameters: it is done again if it had too little memory beside what
  // measuring holds.
  template <typename Work>
  void Load(Work work);
  // Of a block, for Block::Set.
  const Choice* ChoiceFor(size_t index);
  // Of the first run: all that runs need beside the weights.
  void Prepare();
  Buffers Allocate(int chunk) const;
  // What is downloaded of so many images.
  size_t Bytes(const Results& results, int images) const;
  // The smallest of the chunk, and the powers of two below it, that holds so many images.
  int GraphBatch(int images) const;
  const Graph& GraphFor(const Buffers& buffers, Slot& slot, int batch) const;
  // What the graphs hold.
  void EnqueueRest(const Buffers& buffers, const Slot& slot, int batch) const;
  // Beside the graphs, which would have to be recorded for each k.
  void EnqueueTopK(const Slot& slot, int images, int k) const;
  void EnqueueChunk(int images, const Results& results, Slot& slot);
  // What was downloaded of the images from `first` on.
  void HandOver(const Slot& slot, const Results& results, int first, int images) const;
  void RunChunks(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
                 const std::shared_ptr<std::exception_ptr>& failure);

  const Precision precision_;
  const DeviceTraits device_;
  Forward forward_;
  Chooser chooser_;
  const size_t image_bytes_;  // Of pixels.
  int chunk_;
  std::atomic<bool> lost_ = false;
  Stream upload_, compute_, download_;
  Event uploaded_, stem_done_, computed_;
  std::unique_ptr<Uploader> uploader_;
  size_t next_slot_ = 0;
  std::unique_ptr<Buffers> buffers_;
  std::counting_semaphore<kSlots> free_slots_{kSlots};
  SerialThread collector_;  // The last member: it uses the others.
};

}  // namespace repvgg::cuda
