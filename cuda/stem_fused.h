// Host side of stem_fused.cu.
#pragma once

#include "cuda/stem.h"

namespace repvgg::cuda {

// Whether the fused kernel supports the first two layers: fp16 or bf16, stride 2, no groups, channels in
// multiples of 8: 48 and up to 48, or 64 and up to 192.
bool StemFusedFits(const Stem& stem, const Convolution& next, Precision precision);

// The tile's size, if it fits: output pixels; channels, those of `next` or a few more.
inline constexpr int kStemFusedPixels = 64;
int StemFusedChannels(const Stem& stem, const Convolution& next);

// `stem.out` and `next.in` are unused; `next.weight` comes from PackDirectMma.
cudaError_t LaunchStemFused(const Stem& stem, const Convolution& next, Precision precision,
                            cudaStream_t stream);

}  // namespace repvgg::cuda
