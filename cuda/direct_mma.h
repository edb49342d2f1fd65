// Host side of direct_mma.cuh.
#pragma once

#include <span>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

struct DirectMmaTile {
  int pixels;
  int channels;
  int threads;
  int shared_bytes;
  bool aligned;  // Needs channels of a group, in and out, that are multiples of 8 (16-bit types) or 4 (tf32).
};

// The tiles of one type, and how each is launched.
struct DirectMmaFamily {
  std::span<const DirectMmaTile> tiles;
  cudaError_t (*const* launch)(const Convolution&, cudaStream_t);
};

// `precision` is kFp16, kBf16 or kTf32. Maps are in that type; tf32 maps are floats, rounded to tf32.
std::span<const DirectMmaTile> DirectMmaTileTable(Precision precision);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only.
std::vector<unsigned char> PackDirectMma(const Convolution& layer, const float* weight, Precision precision);

// `tile` is an index of DirectMmaTileTable.
cudaError_t LaunchDirectMma(const Convolution& layer, Precision precision, int tile, cudaStream_t stream);

}  // namespace repvgg::cuda
