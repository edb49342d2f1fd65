#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "engine/backend.h"
#include "engine/fuse_rows.h"

namespace repvgg {

// Where a tensor's float32 values lie in an open file.
struct FileRange {
  int descriptor;
  int64_t position;
  bool checksum;  // Whether to compute the CRC-32 of the bytes.
};

struct FusedFile {
  bool finite;  // As returned by FuseRows.
  // Of the bytes in the file; 0 where not requested.
  uint32_t dense_crc32;
  uint32_t pointwise_crc32;
};

// Where fused kernels go.
struct FusionTarget {
  float* kernels;  // Begins with the first output channel that is read; null if there is a sink.
  std::shared_ptr<KernelSink> sink;
};

// Reads 3x3 kernels of a block, [count][width][3][3], and fuses them with those of its 1x1 branch,
// [count][width], in chunks that stay in cache. Returns nothing if not all could be read or the job was
// cancelled; the target's contents are then unspecified. Throws std::bad_alloc.
std::optional<FusedFile> FuseFile(const FusionTarget& target, const FileRange& dense,
                                  const FileRange& pointwise, const BranchScales& scales, size_t first,
                                  size_t count, size_t width, const Cancelled& cancelled);

}  // namespace repvgg
