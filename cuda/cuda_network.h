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

// A network on one GPU. Everything after the first block is one CUDA graph per batch size. A run is cut into
// chunks of the model's batch size, and three streams overlap upload, computation and download of successive
// chunks, of the same run or of several. Run returns once its last chunk is enqueued; the network's collector
// thread waits for the downloads and delivers the results.
//
// Results do not depend on how images are split into batches: an image's sums never involve another image,
// and the algorithm of a layer is fixed when the layer is loaded.
class CudaNetwork : public Network {
 public:
  // Makes no CUDA calls: the first one may take a second, and networks are created on the JavaScript thread.
  // `options.batch_size` is the chunk; it is halved, repeatedly, if it does not fit the GPU's memory.
  // Describe reports the result.
  CudaNetwork(NetworkShape shape, const BackendOptions& options, DeviceTraits device, MeasureLayer measure);
  ~CudaNetwork() override;

  void SetBlock(size_t index, const DeployBlock& block) override;
  void SetBlock(size_t index, const TrainBlock& block) override;
  void SetLinear(const Linear& linear) override;
  void Run(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
           const Done& done) override;
  double MeasureRate(const ImageBatch& batch, double seconds, const Cancelled& cancelled) override;
  std::string Describe() const override;

 private:
  // The buffers of a chunk in flight: while one slot's results are downloaded, the next chunk is computed in
  // the other.
  static constexpr int kSlots = 2;
  struct Slot {
    DeviceMemory embeddings, logits;
    DeviceMemory ranking;    // Of any k: scores, followed by indices.
    PinnedMemory downloads;  // Large enough for any of these.
    Event downloaded;
    std::map<int, Graph> graphs;  // By batch size.
  };
  // All memory of a run except the weights.
  struct Buffers {
    BatchBuffers batch;
    Slot slots[kSlots];
  };

  // Runs `work` on this network's device, and remembers if the device is lost.
  template <typename Work>
  void OnDevice(Work work);
  // OnDevice for `work` that only loads parameters: if it runs out of memory, it is repeated without the
  // memory that measuring holds.
  template <typename Work>
  void Load(Work work);
  // The choice of a block, for Block::Set.
  const Choice* ChoiceFor(size_t index);
  // Executed by the first run: creates everything that runs need besides the weights.
  void Prepare();
  Buffers Allocate(int chunk) const;
  // Bytes to download for `images` images.
  size_t Bytes(const Results& results, int images) const;
  // The batch size of the graph for `images` images: the next power of two, or the chunk if that is smaller.
  int GraphBatch(int images) const;
  const Graph& GraphFor(const Buffers& buffers, Slot& slot, int batch) const;
  // Enqueues what the graphs record.
  void EnqueueRest(const Buffers& buffers, const Slot& slot, int batch) const;
  // Not in the graphs, which would have to be recorded for each k.
  void EnqueueTopK(const Slot& slot, int images, int k) const;
  void EnqueueChunk(int images, const Results& results, Slot& slot);
  // Copies the downloaded results of the images from `first` on to their arrays.
  void HandOver(const Slot& slot, const Results& results, int first, int images) const;
  void RunChunks(const ImageBatch& batch, const Results& results, const Cancelled& cancelled,
                 const std::shared_ptr<std::exception_ptr>& failure);

  const Precision precision_;
  const DeviceTraits device_;
  Forward forward_;
  Chooser chooser_;
  const size_t image_bytes_;
  int chunk_;
  std::atomic<bool> used_ = false, lost_ = false;
  Stream upload_, compute_, download_;
  Event uploaded_, stem_done_, computed_;
  std::unique_ptr<Uploader> uploader_;
  size_t next_slot_ = 0;
  std::unique_ptr<Buffers> buffers_;
  std::counting_semaphore<kSlots> free_slots_{kSlots};
  SerialThread collector_;  // Last, so that it is destroyed first: it uses the others.
};

}  // namespace repvgg::cuda
