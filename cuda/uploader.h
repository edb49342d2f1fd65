// Copies pixels from ordinary memory to the device.
#pragma once

#include <cstdint>

#include "cuda/device_memory.h"
#include "cuda/serial_thread.h"

namespace repvgg::cuda {

// By way of two small page-locked pieces: the GPU fetches one while the next is filled, by the calling thread
// and others, since one core copies some 10 GB/s and a GPU takes several times that.
class Uploader {
 public:
  // For copies of `most` bytes, of which more is possible and no faster. What is enqueued on `stream` last
  // must be over before the uploader is destroyed.
  Uploader(size_t most, cudaStream_t stream);

  // Returns once the last piece is enqueued: `from` is not needed any more.
  void Upload(void* to, const uint8_t* from, size_t bytes);

 private:
  static constexpr int kCopiers = 3;  // Beside the calling thread.

  void CopyInParts(unsigned char* to, const uint8_t* from, size_t bytes);

  const size_t piece_bytes_;
  const cudaStream_t stream_;
  const PinnedMemory pieces_[2];
  const Event free_[2];
  size_t next_ = 0;
  SerialThread copiers_[kCopiers];
};

}  // namespace repvgg::cuda
