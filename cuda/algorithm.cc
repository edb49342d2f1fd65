#include "cuda/algorithm.h"

#include <algorithm>

#include "cuda/direct_fp32.h"
#include "cuda/direct_mma.h"
#include "cuda/direct_sm90a.h"
#include "cuda/direct_wmma.h"
#include "cuda/formats.h"
#include "cuda/stem_fused.h"
#include "cuda/winograd_chain.h"
#include "cuda/winograd_f2.h"
#include "cuda/winograd_f4.h"

namespace repvgg::cuda {
namespace {

// Whether the batch is processed in slices, to bound the memory of the transforms.
bool TakesSlices(Algorithm algorithm) { return IsChain(algorithm) || algorithm == Algorithm::kWinogradF4; }

// Bytes per image, for algorithms that take slices.
size_t ImageWorkspace(const Convolution& layer, const Candidate& candidate) {
  Convolution image = layer;
  image.batch = 1;
  return IsChain(candidate.algorithm) ? ChainWorkspace(image, TileSide(candidate.algorithm))
                                      : WinogradF4Workspace(image);
}

// The largest slice of the batch that fits `limit` bytes, at least one image.
int MostImages(const Convolution& layer, const Candidate& candidate, size_t limit) {
  return static_cast<int>(std::clamp<size_t>(limit / ImageWorkspace(layer, candidate), 1, layer.batch));
}

Convolution OfImages(const Convolution& layer, Precision precision, int first, int batch) {
  const size_t size = ElementSize(precision);
  Convolution slice = layer;
  slice.batch = batch;
  slice.in = static_cast<const unsigned char*>(layer.in) +
             size * first * layer.height * layer.width * layer.in_channels;
  slice.out = static_cast<unsigned char*>(layer.out) +
              size * first * layer.out_height() * layer.out_width() * layer.out_channels;
  return slice;
}

cudaError_t LaunchSlice(const Convolution& slice, Precision precision, const Candidate& candidate,
                        cudaStream_t stream) {
  if (candidate.algorithm == Algorithm::kDirectSm90a) {
    return LaunchDirectSm90a(slice, precision, candidate.tile, candidate.parts, stream);
  }
  if (IsChain(candidate.algorithm)) {
    return LaunchChain(slice, precision, TileSide(candidate.algorithm), candidate.tile, stream);
  }
  return TilesOf(candidate.algorithm, precision)[candidate.tile].launch(slice, stream);
}

}  // namespace

std::span<const ConvolutionTile> TilesOf(Algorithm algorithm, Precision precision) {
  if (algorithm == Algorithm::kWinogradF2) return WinogradF2TileTable(precision);
  if (algorithm == Algorithm::kWinogradF4) return WinogradF4TileTable();
  if (algorithm == Algorithm::kDirectWmma) return DirectWmmaTileTable();
  return precision == Precision::kFp32 ? DirectFp32TileTable() : DirectMmaTileTable(precision);
}

std::vector<unsigned char> PackConvolution(const Convolution& layer, const float* weight, Precision precision,
                                           Algorithm algorithm) {
  if (algorithm == Algorithm::kWinogradF2) return PackWinogradF2(layer, weight, precision);
  if (algorithm == Algorithm::kWinogradF4) return PackWinogradF4(layer, weight);
  if (IsChain(algorithm)) return PackChain(layer, weight, precision, TileSide(algorithm));
  if (precision == Precision::kFp32) return PackDirectFp32(layer, weight);
  const size_t kernels = static_cast<size_t>(layer.out_channels) * layer.group_in();
  const std::vector<float> rounded = RoundKernels(weight, kernels, precision);
  return algorithm == Algorithm::kDirectSm90a ? PackDirectSm90a(layer, rounded.data(), precision)
                                              : PackDirectMma(layer, rounded.data(), precision);
}

bool PoolsItself(const Candidate& candidate) {
  return candidate.algorithm == Algorithm::kDirectSm90a && candidate.parts.count == 1;
}

int SliceImages(const Convolution& layer, const Candidate& candidate, size_t limit) {
  if (!TakesSlices(candidate.algorithm)) return layer.batch;
  const int most = MostImages(layer, candidate, std::min(limit, candidate.workspace_bytes));
  return DivideUp(layer.batch, DivideUp(layer.batch, most));
}

size_t WorkspaceBytes(const Convolution& layer, const Candidate& candidate) {
  if (TakesSlices(candidate.algorithm)) {
    return MostImages(layer, candidate, candidate.workspace_bytes) * ImageWorkspace(layer, candidate);
  }
  return candidate.algorithm == Algorithm::kDirectSm90a ? DirectSm90aWorkspace(layer, candidate.parts) : 0;
}

cudaError_t LaunchConvolution(const Convolution& layer, Precision precision, const Candidate& candidate,
                              cudaStream_t stream) {
  if (candidate.algorithm == Algorithm::kStemFused) {
    return LaunchStemFused(*layer.stem, layer, precision, stream);
  }
  if (layer.stem != nullptr) {
    const cudaError_t error = LaunchStem(*layer.stem, precision, stream);
    if (error != cudaSuccess) return error;
  }
  const int most = SliceImages(layer, candidate);
  for (int first = 0; first < layer.batch; first += most) {
    const Convolution slice = OfImages(layer, precision, first, std::min(most, layer.batch - first));
    if (const auto error = LaunchSlice(slice, precision, candidate, stream); error != cudaSuccess)
      return error;
  }
  return cudaSuccess;
}

}  // namespace repvgg::cuda
