// AVX-512: 32 registers hold 14 x 2 or 9 x 3 sums, the weights and a broadcast value; 14 divides the widths
// 112, 56, 28 and 14.
#include "cpu/kernels.h"

#ifdef __AVX512F__
namespace repvgg::cpu {
constexpr int kLanes = 16;
constexpr int kRows = 14;
constexpr int kWideRows = 9;
constexpr const char* kTableName = "avx512";
}  // namespace repvgg::cpu

#include "cpu/kernels_impl.h"

namespace repvgg::cpu {
const KernelTable* const kAvx512Kernels = &kTable;
}
#else
namespace repvgg::cpu {
const KernelTable* const kAvx512Kernels = nullptr;
}
#endif
