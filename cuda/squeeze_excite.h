// Host side of squeeze_excite.cu.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

// maps *= sigmoid(up * ReLU(down * mean(maps) + down_bias) + up_bias), per image and channel; then ReLU if
// `relu`.
struct SqueezeExciteLayer {
  void* maps = nullptr;  // [batch][pixels][channels]
  int batch = 0;
  int pixels = 0;
  int channels = 0;
  int squeezed = 0;
  bool relu = false;
  const float* down_weight = nullptr;  // [squeezed][channels]
  const float* down_bias = nullptr;
  const float* up_weight = nullptr;  // [channels][squeezed]
  const float* up_bias = nullptr;
  float* scratch = nullptr;  // SqueezeExciteScratch(...) floats
};

// Floats of means and gates, padded so that the hidden values after them are aligned to 16 bytes.
constexpr size_t SqueezeExciteMaps(int batch, int channels) {
  return (size_t{2} * batch * channels + 3) / 4 * 4;
}
constexpr size_t SqueezeExciteScratch(int batch, int channels, int squeezed) {
  return SqueezeExciteMaps(batch, channels) + static_cast<size_t>(batch) * squeezed;
}

cudaError_t LaunchSqueezeExcite(const SqueezeExciteLayer& layer, Precision precision, cudaStream_t stream);

}  // namespace repvgg::cuda
