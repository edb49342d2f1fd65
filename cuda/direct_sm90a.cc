#include "cuda/direct_sm90a.h"

#include <cstring>

#include "cuda/formats.h"
#include "cuda/sum_splits.h"

namespace repvgg::cuda {

extern const std::span<const GemmSm90aTile> kConvolutionSm90aFp16, kConvolutionSm90aBf16,
    kConvolutionSm90aFp8;

namespace {

constexpr int kTaps = 9;

bool Known(Precision precision) {
  return precision == Precision::kFp16 || precision == Precision::kBf16 || precision == Precision::kFp8;
}

// The column of the GEMM that computes a map's channel: see PairColumn in gemm_sm90a_store.cuh.
int ColumnOf(int channel, Precision precision) {
  if (precision != Precision::kFp8) return channel;
  return channel / 16 * 16 + channel / 2 % 2 * 8 + channel % 16 / 4 * 2 + channel % 2;
}

}  // namespace

std::span<const GemmSm90aTile> ConvolutionSm90aTiles(Precision precision) {
  return precision == Precision::kFp8    ? kConvolutionSm90aFp8
         : precision == Precision::kFp16 ? kConvolutionSm90aFp16
                                         : kConvolutionSm90aBf16;
}

bool DirectSm90aFits(const Convolution& layer, Precision precision) {
  const int chunk = 16 / ElementSize(precision);
  return Known(precision) && layer.groups <= kMostGroups && layer.group_in() % chunk == 0 &&
         layer.group_out() % chunk == 0;
}

// Layout: [group][block of BoxChannels channels][tap][output channel][input channel of the block],
// zero-padded after the last channel.
std::vector<unsigned char> PackDirectSm90a(const Convolution& layer, const float* weight,
                                           Precision precision) {
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const int box = BoxChannels(precision), size = ElementSize(precision), blocks = DivideUp(group_in, box);
  std::vector<unsigned char> packed(size_t{128} * layer.out_channels * blocks * kTaps);
  for (int k = 0; k < layer.out_channels; ++k) {
    for (int c = 0; c < group_in; ++c) {
      for (int tap = 0; tap < kTaps; ++tap) {
        const uint32_t bits =
            FormatBits(weight[(static_cast<size_t>(k) * group_in + c) * kTaps + tap], precision);
        const size_t block = (static_cast<size_t>(k / group_out) * blocks + c / box) * kTaps + tap;
        const size_t at = (block * group_out + ColumnOf(k % group_out, precision)) * box + c % box;
        std::memcpy(&packed[at * size], &bits, size);
      }
    }
  }
  return packed;
}

size_t DirectSm90aWorkspace(const Convolution& layer, Parts parts) {
  if (parts.count == 1 || parts.in_cluster) return 0;
  return sizeof(float) * parts.count * layer.pixels() * layer.out_channels;
}

cudaError_t LaunchDirectSm90a(const Convolution& layer, Precision precision, int tile, Parts parts,
                              cudaStream_t stream) {
  if (!layer.fits() || !DirectSm90aFits(layer, precision)) return cudaErrorInvalidValue;
  const GemmSm90aTile& shape = ConvolutionSm90aTiles(precision)[tile];
  if (parts.count > 1) {
    const bool can_add = parts.in_cluster ? shape.adds_parts && parts.count <= kMostBlocksOfCluster
                                          : layer.workspace != nullptr;
    if (!can_add || layer.pooled != nullptr || precision == Precision::kFp8) return cudaErrorInvalidValue;
  }
  if (precision == Precision::kFp8 && layer.scale == nullptr) return cudaErrorInvalidValue;
  const uint64_t group_in = layer.group_in(), group_out = layer.group_out(), groups = layer.groups;
  const uint64_t pixels = layer.pixels(), size = ElementSize(precision);

  GemmSm90a gemm;
  for (int group = 0; group < layer.groups; ++group) {
    const PixelArray in = {static_cast<const unsigned char*>(layer.in) + size * group * group_in,
                           layer.batch,
                           layer.height,
                           layer.width,
                           layer.group_in(),
                           layer.in_channels,
                           layer.stride,
                           shape.in_rows};
    if (const auto error = EncodePixels(in, precision, &gemm.in[group]); error != cudaSuccess) return error;
  }
  const uint64_t box = BoxChannels(precision), row = box * size;
  const uint64_t steps = (group_in + box - 1) / box * kTaps;
  const TiledArray weight = {layer.weight,
                             {box, group_out, steps, groups},
                             {row, row * group_out, row * group_out * steps},
                             {static_cast<uint32_t>(box), static_cast<uint32_t>(shape.weight_columns), 1, 1}};
  if (const auto error = EncodeTiled(weight, precision, &gemm.weight); error != cudaSuccess) return error;
  const uint64_t pixel = size * group_out * groups;
  const TiledArray out = {layer.out,
                          {group_out, groups, pixels, 1},
                          {size * group_out, pixel, pixel * pixels},
                          {static_cast<uint32_t>(shape.store_columns), 1, 64, 1}};
  if (const auto error = EncodeTiled(out, precision, &gemm.out); error != cudaSuccess) return error;

  gemm.bias = layer.bias;
  gemm.scale = layer.scale;
  gemm.rows = layer.pixels();
  gemm.columns = layer.group_out();
  gemm.batches = gemm.groups = layer.groups;
  gemm.depth = layer.group_in();
  gemm.relu = layer.relu;
  gemm.out_width = layer.out_width();
  gemm.out_height = layer.out_height();
  gemm.stride = layer.stride;
  gemm.splits = parts.count;
  if (parts.in_cluster) {
    gemm.map = layer.out;
  } else {
    gemm.sums = static_cast<float*>(layer.workspace);
  }
  gemm.pooled = layer.pooled;
  const auto error = shape.launch(gemm, stream);
  if (error != cudaSuccess || parts.count == 1 || parts.in_cluster) return error;
  return LaunchSumSplits(layer, precision, parts.count, stream);
}

}  // namespace repvgg::cuda
