#include "engine/fuse_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "engine/crc32.h"

namespace repvgg {
namespace {

// Of rows that are worked on together: they stay in a core's own cache beside what else is used.
constexpr size_t kBytesTogether = 256 << 10;

// Rows that a sink is given: what it writes for them are whole cache lines, each once.
constexpr size_t kRowsOfSink = 16;

// Reads a tensor from its beginning on.
class TensorReader {
 public:
  explicit TensorReader(const FileRange& range) : range_(range) {}

  // False at an error or the end of the file.
  bool Read(float* to, size_t count) {
    auto* bytes = reinterpret_cast<uint8_t*>(to);
    size_t left = count * sizeof(float);
    if (!ReadBytes(bytes, left)) return false;
    range_.position += static_cast<int64_t>(left);
    if (range_.checksum) crc32_ = Crc32(crc32_, bytes, left);
    return true;
  }

  uint32_t crc32() const { return crc32_; }

 private:
  bool ReadBytes(uint8_t* to, size_t size) const {
    for (size_t done = 0; done < size;) {
      const ssize_t count =
          pread(range_.descriptor, to + done, size - done, range_.position + static_cast<int64_t>(done));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return false;
      done += count;
    }
    return true;
  }

  FileRange range_;
  uint32_t crc32_ = 0;
};

}  // namespace

std::optional<FusedFile> FuseFile(const FusionTarget& target, const FileRange& dense,
                                  const FileRange& pointwise, const BranchScales& scales, size_t first,
                                  size_t count, size_t width, const Cancelled& cancelled) {
  const size_t row = 9 * width;
  const size_t together =
      target.sink != nullptr ? kRowsOfSink : std::max<size_t>(1, kBytesTogether / (row * sizeof(float)));
  std::vector<float> points(std::min(together, count) * width);
  std::vector<float> own(target.sink != nullptr ? points.size() * 9 : 0);
  TensorReader dense_reader(dense), pointwise_reader(pointwise);
  bool finite = true;
  for (size_t done = 0; done < count; done += together) {
    const size_t rows = std::min(together, count - done);
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
