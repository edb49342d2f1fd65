#include "engine/algorithms.h"

#include "engine/backend.h"

namespace repvgg {
namespace {

// kAuto excludes what would make the errors of logits much larger than they are without it:
// - fp16, bf16: F(4x4), which more than doubles them, where F(2x2) adds little to what rounding to the format
//   costs anyway (docs/kernels.md, "Errors").
// - fp32 with squeeze-and-excite: all of Winograd's, since gates amplify rounding errors. With F(4x4) the
//   logits of D2se (seeded weights, four photographs together) are off by 1.6e-5 in relative L2, with direct
//   convolution by 9.3e-6, and the bound is 1e-5; PyTorch's own fp32 is off by 1.0e-5.
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
  if (precision == Precision::kFp16 || precision == Precision::kBf16) return ConvolutionAlgorithm::kF2;
  const bool gated = shape.squeeze_excite != SqueezeExcitePosition::kNone;
  return gated ? ConvolutionAlgorithm::kDirect : ConvolutionAlgorithm::kF4;
}

}  // namespace

AllowedAlgorithms AllowedFor(const NetworkShape& shape, const BackendOptions& options) {
  return {LeastPrecise(shape, options.precision, options.winograd), options.algorithm};
}

}  // namespace repvgg
