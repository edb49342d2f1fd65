#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const DirectMmaFamily kDirectMmaTf32;
const DirectMmaFamily kDirectMmaTf32 = MakeDirectMmaFamily<float>();

}  // namespace repvgg::cuda
