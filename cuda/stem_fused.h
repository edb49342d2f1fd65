// Host side of stem_fused.cu.
#pragma once

#include "cuda/stem.h"

namespace repvgg::cuda {

// Whether one kernel can do the first two layers: fp16 or bf16, stride 2, no groups, multiples of 8 channels,
// at most 48 behind 48 or 192 behind 64.
bool StemFusedFits(const Stem& stem, const Convolution& next, Precision precision);

// Of a block's tile, where it fits: output pixels, and channels, which are those of `next` or a few more.
inline constexpr int kStemFusedPixels = 64;
int StemFusedChannels(const Stem& stem, const Convolution& next);

// `stem.out` and `next.in` are not used; `next.weight` comes from PackDirectMma.
cudaError_t LaunchStemFused(const Stem& stem, const Convolution& next, Precision precision,
                            cudaStream_t stream);

}  // namespace repvgg::cuda
