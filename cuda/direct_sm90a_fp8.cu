#include "cuda/direct_sm90a.cuh"

namespace repvgg::cuda {

extern const std::span<const GemmSm90aTile> kConvolutionSm90aFp8;
const std::span<const GemmSm90aTile> kConvolutionSm90aFp8 = ConvolutionTiles<Precision::kFp8>::kTiles;

}  // namespace repvgg::cuda
