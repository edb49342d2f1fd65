#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const DirectMmaFamily kDirectMmaTf32;
const DirectMmaFamily kDirectMmaTf32 = MakeDirectMmaFamily<Precision::kTf32>();

}  // namespace repvgg::cuda
