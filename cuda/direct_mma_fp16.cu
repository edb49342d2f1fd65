#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const std::span<const ConvolutionTile> kDirectMmaFp16;
const std::span<const ConvolutionTile> kDirectMmaFp16 = kDirectMmaTiles<Precision::kFp16>;

}  // namespace repvgg::cuda
