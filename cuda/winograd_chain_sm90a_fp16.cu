#include "cuda/winograd_chain_sm90a.cuh"

namespace repvgg::cuda {

extern const std::span<const GemmSm90aTile> kBatchedSm90aFp16;
const std::span<const GemmSm90aTile> kBatchedSm90aFp16 = kBatchedTiles<Precision::kFp16>;

}  // namespace repvgg::cuda
