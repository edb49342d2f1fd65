#include "cuda/direct_sm90a.cuh"

namespace repvgg::cuda {

extern const std::span<const GemmSm90aTile> kConvolutionSm90aBf16;
const std::span<const GemmSm90aTile> kConvolutionSm90aBf16 = kConvolutionTiles<Precision::kBf16>;

}  // namespace repvgg::cuda
