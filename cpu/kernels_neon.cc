// NEON: 32 registers hold 8 x 2 or 6 x 3 sums, the weights and four values of each row. GCC 12 still keeps a
// few values of 6 x 3 in memory, and many more of 9 x 2 or 7 x 3.
#include "cpu/kernels.h"

#ifdef __aarch64__
namespace repvgg::cpu {
constexpr int kLanes = 4;
constexpr int kRowsOf[] = {8, 6};
constexpr const char* kTableName = "neon";
}  // namespace repvgg::cpu

#include "cpu/kernels_impl.h"

namespace repvgg::cpu {
const KernelTable* const kNeonKernels = &kTable;
}
#else
namespace repvgg::cpu {
const KernelTable* const kNeonKernels = nullptr;
}
#endif
