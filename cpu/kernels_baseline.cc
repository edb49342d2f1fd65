// For every processor that the compiler targets by default, with tiles for the 16 registers of SSE2.
namespace repvgg::cpu {
constexpr int kLanes = 4;
constexpr int kRowsOf[] = {6, 4};
constexpr const char* kTableName = "baseline";
}  // namespace repvgg::cpu

#include "cpu/kernels_impl.h"

namespace repvgg::cpu {
const KernelTable* const kBaselineKernels = &kTable;
}
