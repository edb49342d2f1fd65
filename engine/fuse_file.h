#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "engine/backend.h"
#include "engine/fuse_rows.h"

namespace repvgg {

// The values of a tensor, as they lie in an open file.
struct FileRange {
  int descriptor;
  int64_t position;
  bool checksum;  // Whether anybody wants to know it.
};

struct FusedFile {
  bool finite;  // As of FuseRows.
  // CRC-32 of the bytes in the file; 0 if nobody asked.
  uint32_t dense_crc32;
  uint32_t pointwise_crc32;
};

// Where fused kernels go.
struct FusionTarget {
  float* kernels;  // Those of the first output channel that is read; null if there is a sink.
  std::shared_ptr<KernelSink> sink;
};

// Reads kernels of a block, [count][width][3][3], and fuses them with those of its 1x1 branch,
// [count][width]: a few at a time, while they are in the processor's cache. Nothing where not all of them can
// be read, or it was cancelled; the target then has anything. Throws std::bad_alloc.
std::optional<FusedFile> FuseFile(const FusionTarget& target, const FileRange& dense,
                                  const FileRange& pointwise, const BranchScales& scales, size_t first,
                                  size_t count, size_t width, const Cancelled& cancelled);

}  // namespace repvgg
