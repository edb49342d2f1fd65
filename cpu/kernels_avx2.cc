// AVX2 and FMA: 16 registers hold 6 x 2 sums, 2 weights and a broadcast value.
#include "cpu/kernels.h"

#ifdef __AVX2__
namespace repvgg::cpu {
constexpr int kLanes = 8;
constexpr int kRows = 6;
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
