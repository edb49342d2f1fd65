// Host side of stem.cu and stem_mma.cu.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

// The first layer (stem): conv3x3 of stride 2 over normalised pixels, bias, ReLU.
struct Stem {
  const uint8_t* in = nullptr;        // [batch][height][width][3]
  const float* normalized = nullptr;  // [3][256], NormalizationTable of engine/normalization.h
  const float* weight = nullptr;      // From PackStem
  const float* bias = nullptr;        // [out_channels]
  void* out = nullptr;                // [batch][out_height][out_width][out_channels]
  int batch = 0;
  int height = 0;
  int width = 0;
  int out_channels = 0;
  bool relu = true;

  constexpr int out_height() const { return (height + 1) / 2; }
  constexpr int out_width() const { return (width + 1) / 2; }
};

inline constexpr int kStemPackedChannels = 64;

// `weight` is [out_channels][3][3][3]. The result is [3][3][3][out_channels, padded to a multiple of
// kStemPackedChannels].
std::vector<float> PackStem(const float* weight, int out_channels);

// On tensor cores (stem_mma.cu) where StemMmaFits, otherwise on the CUDA cores (stem.cu).
cudaError_t LaunchStem(const Stem& stem, Precision out_precision, cudaStream_t stream);

bool StemMmaFits(const Stem& stem, Precision out_precision);
cudaError_t LaunchStemMma(const Stem& stem, Precision out_precision, cudaStream_t stream);

}  // namespace repvgg::cuda
