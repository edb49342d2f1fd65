#include "cuda/direct_sm90a.cuh"

namespace repvgg::cuda {

extern const std::span<const GemmSm90aTile> kConvolutionSm90aFp16;
const std::span<const GemmSm90aTile> kConvolutionSm90aFp16 = kConvolutionTiles<Precision::kFp16>;

}  // namespace repvgg::cuda
