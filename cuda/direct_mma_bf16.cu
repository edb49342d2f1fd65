#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const DirectMmaFamily kDirectMmaBf16;
const DirectMmaFamily kDirectMmaBf16 = MakeDirectMmaFamily<BFloat16>();

}  // namespace repvgg::cuda
