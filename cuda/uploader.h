// Uploads pixels from pageable memory.
#pragma once

#include <cstdint>

#include "cuda/device_memory.h"
#include "cuda/serial_thread.h"

namespace repvgg::cuda {

// Through two small pinned staging buffers: the GPU copies from one while the other is filled, by the calling
// thread and others, since one core copies some 10 GB/s and a GPU accepts several times that.
class Uploader {
 public:
  // Sized for uploads of `most` bytes; larger ones work as well. Work on `stream` must have completed before
  // the uploader is destroyed.
  Uploader(size_t most, cudaStream_t stream);

  // Returns once the last piece is enqueued: `from` may be reused.
  void Upload(void* to, const uint8_t* from, size_t bytes);

 private:
  static constexpr int kCopiers = 3;  // Besides the calling thread.

  void CopyInParts(unsigned char* to, const uint8_t* from, size_t bytes);

  const size_t piece_bytes_;
  const cudaStream_t stream_;
  const PinnedMemory pieces_[2];
  const Event free_[2];
  size_t next_ = 0;
  SerialThread copiers_[kCopiers];
};

}  // namespace repvgg::cuda
