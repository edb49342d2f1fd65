#include "cuda/direct_mma.cuh"

namespace repvgg::cuda {

extern const std::span<const ConvolutionTile> kDirectMmaBf16;
const std::span<const ConvolutionTile> kDirectMmaBf16 = kDirectMmaTiles<Precision::kBf16>;

}  // namespace repvgg::cuda
