#include "engine/algorithms.h"

#include "engine/backend.h"

namespace repvgg {
namespace {

// kAuto excludes what would make the errors of logits much larger than they are without it:
// - fp16, bf16: F(4x4), which more than doubles them, where F(2x2) adds little to what rounding to the format
//   costs anyway (docs/kernels.md, "Errors").
// - fp32 with squeeze-and-excite: F(4x4) as well, since gates amplify rounding errors. The logits of D2se
//   (seeded weights, four photographs together, on AVX-512) are off by 1.6e-5 in relative L2 with it,
//   by 8.2e-6 with F(2x2) and by 8.3e-6 with direct convolution, and the bound is 1e-5; PyTorch's own fp32 is
//   off by 1.0e-5.
// The other values mean the same in every precision, with gates and without: naming an algorithm accepts its
// error. (tf32, fp8 on a GPU and bf16 on the CPU have direct kernels only, so nothing changes there.)
ConvolutionAlgorithm LeastPrecise(const NetworkShape& shape, Precision precision, Winograd winograd) {
  switch (winograd) {
    case Winograd::kOff:
      return ConvolutionAlgorithm::kDirect;
    case Winograd::kF2:
      return ConvolutionAlgorithm::kF2;
    case Winograd::kF4:
      return ConvolutionAlgorithm::kF4;
    case Winograd::kAuto:
      break;
  }
  const bool half = precision == Precision::kFp16 || precision == Precision::kBf16;
  const bool gated = shape.squeeze_excite != SqueezeExcitePosition::kNone;
  return half || gated ? ConvolutionAlgorithm::kF2 : ConvolutionAlgorithm::kF4;
}

}  // namespace

AllowedAlgorithms AllowedFor(const NetworkShape& shape, const BackendOptions& options) {
  return {LeastPrecise(shape, options.precision, options.winograd), options.algorithm};
}

}  // namespace repvgg
