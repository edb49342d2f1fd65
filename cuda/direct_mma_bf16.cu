#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const DirectMmaFamily kDirectMmaBf16;
const DirectMmaFamily kDirectMmaBf16 = MakeDirectMmaFamily<Precision::kBf16>();

}  // namespace repvgg::cuda
