#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const DirectMmaFamily kDirectMmaFp16;
const DirectMmaFamily kDirectMmaFp16 = MakeDirectMmaFamily<Precision::kFp16>();

}  // namespace repvgg::cuda
