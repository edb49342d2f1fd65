#include "cuda/uploader.h"

#include <algorithm>
#include <cstring>
#include <latch>

namespace repvgg::cuda {
namespace {

constexpr const char* kUploading = "uploading pixels";
constexpr size_t kPieceBytes = 4 << 20;  // Large enough for full bandwidth, small compared to a batch.
constexpr size_t kLeastPart = 64 << 10;  // Smaller copies finish before another thread wakes up.

}  // namespace

Uploader::Uploader(size_t most, cudaStream_t stream)
    : piece_bytes_(std::min(kPieceBytes, most)),
      stream_(stream),
      pieces_{AllocatePinned(piece_bytes_), AllocatePinned(piece_bytes_)},
      free_{MakeEvent(EventUse::kThread), MakeEvent(EventUse::kThread)} {}

void Uploader::Upload(void* to, const uint8_t* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += piece_bytes_, next_ ^= 1) {
    const size_t size = std::min(piece_bytes_, bytes - at);
    const Event& free = free_[next_];
    Wait(free, kUploading);
    void* const piece = pieces_[next_].get();
    CopyInParts(static_cast<unsigned char*>(piece), from + at, size);
    Check(cudaMemcpyAsync(static_cast<uint8_t*>(to) + at, piece, size, cudaMemcpyHostToDevice, stream_),
          kUploading);
    Check(cudaEventRecord(free.get(), stream_), kUploading);
  }
}

void Uploader::CopyInParts(unsigned char* to, const uint8_t* from, size_t bytes) {
  const size_t part = std::max(bytes / (kCopiers + 1) + 1, kLeastPart);
  std::latch copied(kCopiers);
  for (int i = 0; i < kCopiers; ++i) {
    const size_t begin = std::min(bytes, (i + 1) * part), end = std::min(bytes, begin + part);
    if (begin == end) {
      copied.count_down();
    } else {
      copiers_[i].Post([=, &copied] {
        std::memcpy(to + begin, from + begin, end - begin);
        copied.count_down();
      });
    }
  }
  std::memcpy(to, from, std::min(bytes, part));
  copied.wait();
}

}  // namespace repvgg::cuda
