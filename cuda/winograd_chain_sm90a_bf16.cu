#include "cuda/winograd_chain_sm90a.cuh"

namespace repvgg::cuda {

extern const std::span<const GemmSm90aTile> kBatchedSm90aBf16;
const std::span<const GemmSm90aTile> kBatchedSm90aBf16 = kBatchedTiles<Precision::kBf16>;

}  // namespace repvgg::cuda
