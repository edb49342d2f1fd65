#include "engine/fuse_file.h"

#include <algorithm>
#include <vector>

#include "engine/crc32.h"
#include "engine/read_file.h"

namespace repvgg {
namespace {

// Rows are processed in chunks of this many bytes, which fit a core's private cache beside its other data.
constexpr size_t kChunkBytes = 256 << 10;

// With so many rows at a time, a sink writes whole cache lines, each once.
constexpr size_t kSinkRows = 16;

// Reads a tensor sequentially.
class TensorReader {
 public:
  explicit TensorReader(const FileRange& range) : range_(range) {}

  // False after an error or at the end of the file.
  bool Read(float* to, size_t count) {
    auto* const bytes = reinterpret_cast<uint8_t*>(to);
    const size_t size = count * sizeof(float);
    if (!ReadFully(range_.descriptor, range_.position, bytes, size)) return false;
    range_.position += static_cast<int64_t>(size);
    if (range_.checksum) crc32_ = Crc32(crc32_, bytes, size);
    return true;
  }

  uint32_t crc32() const { return crc32_; }

 private:
  FileRange range_;
  uint32_t crc32_ = 0;
};

}  // namespace

std::optional<FusedFile> FuseFile(const FusionTarget& target, const FileRange& dense,
                                  const FileRange& pointwise, const BranchScales& scales, size_t first,
                                  size_t count, size_t width, const Cancelled& cancelled) {
  const size_t row = 9 * width;
  const size_t chunk =
      target.sink != nullptr ? kSinkRows : std::max<size_t>(1, kChunkBytes / (row * sizeof(float)));
  std::vector<float> points(std::min(chunk, count) * width);
  std::vector<float> own(target.sink != nullptr ? points.size() * 9 : 0);
  TensorReader dense_reader(dense), pointwise_reader(pointwise);
  bool finite = true;
  for (size_t done = 0; done < count; done += chunk) {
    const size_t rows = std::min(chunk, count - done);
    float* kernels = target.sink != nullptr ? own.data() : target.kernels + done * row;
    if (cancelled() || !dense_reader.Read(kernels, rows * row) ||
        !pointwise_reader.Read(points.data(), rows * width)) {
      return std::nullopt;
    }
    finite &= FuseRows(kernels, kernels, points.data(), scales, first + done, rows, width);
    if (target.sink != nullptr) target.sink->Put(kernels, first + done, rows);
  }
  return FusedFile{finite, dense_reader.crc32(), pointwise_reader.crc32()};
}

}  // namespace repvgg
