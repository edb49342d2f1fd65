#pragma once

#include <cstddef>

namespace repvgg {

// What the kernels of a block's branches are multiplied with: one number for each output channel of the
// block.
struct BranchScales {
  const double* dense;
  const double* pointwise;
  const double* identity;  // Null where the block has no such branch.
};

// What fuseRows of ts/fuse_rows.ts does, bit for bit; ts/fusion.ts has the algebra. Fuses the kernels of
// `count` output channels from `first` on, of `width` input channels each. `target` is [count][width][3][3],
// and so is `dense`, which may be the same; `pointwise` is [count][width]. Returns true if all results are
// finite, and false if one of them may not be.
bool FuseRows(float* target, const float* dense, const float* pointwise, const BranchScales& scales,
              size_t first, size_t count, size_t width);

bool AllFinite(const float* values, size_t count);

}  // namespace repvgg
