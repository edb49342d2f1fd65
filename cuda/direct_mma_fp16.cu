#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const DirectMmaFamily kDirectMmaFp16;
const DirectMmaFamily kDirectMmaFp16 = MakeDirectMmaFamily<Half>();

}  // namespace repvgg::cuda
