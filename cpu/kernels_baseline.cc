// For every processor that the compiler targets by default: SSE2 on x86-64, NEON on arm64.
namespace repvgg::cpu {
constexpr int kLanes = 4;
constexpr int kRowsOf[] = {6, 4};
constexpr const char* kTableName = "baseline";
}  // namespace repvgg::cpu

#include "cpu/kernels_impl.h"

namespace repvgg::cpu {
const KernelTable* const kBaselineKernels = &kTable;
}
