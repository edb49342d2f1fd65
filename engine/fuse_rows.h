#pragma once

#include <cstddef>

namespace repvgg {

// The factors of the kernels of a block's branches, one per output channel.
struct BranchScales {
  const double* dense;
  const double* pointwise;
  const double* identity;  // Null where the block has no such branch.
};

// Bit for bit the same as fuseRows of ts/fusion/fuse_rows.ts; ts/fusion/fusion.ts has the algebra. Fuses the
// kernels of `count` output channels, from `first` on, with `width` input channels each. `target` and `dense`
// are [count][width][3][3] and may be the same array; `pointwise` is [count][width]. Returns true only if all
// results are finite. False may also mean that a 3x3 centre alone, scaled, overflows.
bool FuseRows(float* target, const float* dense, const float* pointwise, const BranchScales& scales,
              size_t first, size_t count, size_t width);

bool AllFinite(const float* values, size_t count);

}  // namespace repvgg
