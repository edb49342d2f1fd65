// AVX-512: 32 registers hold 14 x 2, 8 x 3 or 6 x 4 sums, the weights and a broadcast value. With 9 x 3 sums
// the compiler keeps some of them in memory; 14 rows are two of a map of 7 x 7.
#include "cpu/kernels.h"

#ifdef __AVX512F__
namespace repvgg::cpu {
constexpr int kLanes = 16;
constexpr int kRowsOf[] = {14, 8, 6};
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
