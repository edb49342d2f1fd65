#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const std::span<const ConvolutionTile> kDirectMmaTf32;
const std::span<const ConvolutionTile> kDirectMmaTf32 = kDirectMmaTiles<Precision::kTf32>;

}  // namespace repvgg::cuda
