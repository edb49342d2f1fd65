#include "cuda/direct_sm90a.cuh"

namespace repvgg::cuda {
namespace {

// Tiles of half the accumulators: the other half of the registers holds the sums of a step.
constexpr auto kFp8 = Precision::kFp8;
constexpr GemmSm90aTile kFp8Tiles[] = {
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 256, 96, 4>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 128, 128, 5>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 128, 160, 5>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 128, 192, 4>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kPingPong, 64, 64, 8>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kPingPong, 64, 128, 7>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kPingPong, 128, 32, 8>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kPingPong, 128, 48, 8>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kPingPong, 128, 64, 8>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kPingPong, 128, 80, 7>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kPingPong, 128, 96, 6>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 256, 96, 4, Operand::kIn>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 256, 96, 4, Operand::kWeight>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 128, 128, 5, Operand::kWeight>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 128, 160, 5, Operand::kWeight>,
    kGemmSm90aTile<kFp8, TmaMode::kIm2col, Schedule::kCooperative, 128, 192, 4, Operand::kWeight>};

}  // namespace

extern const std::span<const GemmSm90aTile> kConvolutionSm90aFp8;
const std::span<const GemmSm90aTile> kConvolutionSm90aFp8 = kFp8Tiles;

}  // namespace repvgg::cuda
