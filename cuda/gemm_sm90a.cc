#include "cuda/gemm_sm90a.h"

namespace repvgg::cuda {

std::string Sm90aName(const GemmSm90aTile& tile, const std::string& parts) {
  return "sm90a" + parts +
         (tile.multicast == Operand::kIn       ? " multicast pixels"
          : tile.multicast == Operand::kWeight ? " multicast weights"
                                               : "") +
         (tile.ping_pong ? " ping-pong" : "");
}

bool HasSm90aKernels() {
#ifdef REPVGG_HAS_SM90A
  return true;
#else
  return false;
#endif
}

}  // namespace repvgg::cuda
