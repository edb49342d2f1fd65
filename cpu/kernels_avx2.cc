// AVX2 and FMA: 16 registers hold 6 x 2 or 4 x 3 sums, the weights and a broadcast value.
#include "cpu/kernels.h"

#ifdef __AVX2__
namespace repvgg::cpu {
constexpr int kLanes = 8;
constexpr int kRowsOf[] = {6, 4};
constexpr const char* kTableName = "avx2";
}  // namespace repvgg::cpu

#include "cpu/kernels_impl.h"

namespace repvgg::cpu {
const KernelTable* const kAvx2Kernels = &kTable;
}
#else
namespace repvgg::cpu {
const KernelTable* const kAvx2Kernels = nullptr;
}
#endif
