// The first layer on tensor cores, 16 pixels per warp at a time: shared by stem_mma.cu and stem_fused.cu, so
// that their maps are bit-identical.
//
// Exactness. A pixel's bytes are exact in fp16, so normalisation is folded into the weights (times the slope
// of the channel's normalisation) and the bias (plus its value at 0). Each weight, divided by the largest of
// its output channel, is the sum of two fp16 values: at least 22 bits. Padding is 0 after normalisation,
// which is not byte 0: the epilogue subtracts again what taps outside the image contributed to the bias.
//
// The reduction. A window's 27 values are three runs of nine in memory, five pairs each: 30 of the 32 values
// of two m16n8k16 steps, the others with zero weights.
#pragma once

#include "cuda/element.cuh"
#include "cuda/stem.h"

namespace repvgg::cuda {

inline constexpr int kStemPairs = 15;  // Per window, five per row.

// The channel of column n of tile j: each lane of a quad gets 8 adjacent channels of 32, or 4 of the last 16,
// so that it can store them at once.
template <int kTiles>
REPVGG_DEVICE constexpr int StemChannel(int j, int n) {
  constexpr int kWide = kTiles / 4 * 4;
  static_assert(kTiles <= 8);
  // j / 4 * 32 + j % 4 * 2 without the division, which GCC 12 takes for 0.
  return j < kWide ? j * 2 + (j & 4) * 6 + n / 2 * 8 + n % 2
                   : kWide * 8 + n / 2 * 4 + (j - kWide) * 2 + n % 2;
}

// The weights of 8 kTiles channels, from `first_channel` on.
class StemWeight {
 public:
  REPVGG_DEVICE StemWeight(const Stem& stem, int first_channel)
      : normalized_(stem.normalized),
        weights_(stem.weight + first_channel),
        pitch_(DivideUp(stem.out_channels, kStemPackedChannels) * kStemPackedChannels) {}
  REPVGG_DEVICE float At(int c, int tap, int channel) const {
    return weights_[(c * 9 + tap) * pitch_ + channel];
  }
  REPVGG_DEVICE float Slope(int c) const { return (normalized_[c * 256 + 255] - normalized_[c * 256]) / 255; }
  REPVGG_DEVICE float AtZero(int c) const { return normalized_[c * 256]; }

 private:
  const float* normalized_;
  const float* weights_;
  int pitch_;
};

// The epilogue's parameters of each channel, in shared memory.
template <int kTiles>
struct StemChannels {
  static constexpr int kChannels = 8 * kTiles;
  static constexpr int kWords = 11 * kChannels;

  float* scale;
  float* bias;
  float* taps;  // [tap][channel]: the tap's contribution to the bias.

  REPVGG_DEVICE explicit StemChannels(float* shared)
      : scale(shared), bias(scale + kChannels), taps(bias + kChannels) {}

  // Executed by the first kChannels threads of a block; a barrier must follow.
  REPVGG_DEVICE void Prepare(const Stem& stem, int first_channel) const {
    if (threadIdx.x >= kChannels) return;
    const StemWeight weight(stem, first_channel);
    const int channel = threadIdx.x;
    float largest = 0,
          total = first_channel + channel < stem.out_channels ? stem.bias[first_channel + channel] : 0;
    for (int tap = 0; tap < 9; ++tap) {
      float sum = 0;
      for (int c = 0; c < 3; ++c) {
        const float own = weight.At(c, tap, channel), size = own * weight.Slope(c);
        largest = size > largest ? size : -size > largest ? -size : largest;
        sum += own * weight.AtZero(c);
      }
      taps[tap * kChannels + channel] = sum;
      total += sum;
    }
    scale[channel] = largest > 0 ? largest : 1;
    bias[channel] = total;
  }
};

// A lane's fragments of all weights; call Load after Prepare and a barrier.
template <int kTiles>
struct StemFragments {
  uint32_t high[2][kTiles][2], low[2][kTiles][2];

  REPVGG_DEVICE void Load(const Stem& stem, int first_channel, const float* scale) {
    const StemWeight weight(stem, first_channel);
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int step = 0; step < 2; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pair = step * 8 + half * 4 + t, row = pair / 5;
#pragma unroll
        for (int j = 0; j < kTiles; ++j) {
          const int channel = StemChannel<kTiles>(j, g);
          float value[2];
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int place = pair % 5 * 2 + e;  // Among the nine values of a row of the window.
            value[e] = pair < kStemPairs && place < 9 ? weight.At(place % 3, row * 3 + place / 3, channel) *
                                                            weight.Slope(place % 3) / scale[channel]
                                                      : 0;
          }
          high[step][j][half] = Pack<Half>(value[0], value[1]);
          low[step][j][half] = Pack<Half>(value[0] - ToFloat(FromFloat<Half>(value[0])),
                                          value[1] - ToFloat(FromFloat<Half>(value[1])));
        }
      }
    }
  }
};

// A patch of an image in fp16, two values per word: kRows rows of kColumns pixels, kPitch words each.
template <int kRows, int kColumns, int kPitch>
struct StemPatch {
  static constexpr int kWords = kRows * kPitch;

  uint32_t* words;
  int offset[2][2];  // Of this lane's pairs within a window.

  REPVGG_DEVICE explicit StemPatch(uint32_t* shared) : words(shared) {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int step = 0; step < 2; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pair = step * 8 + half * 4 + t;
        offset[step][half] = pair < kStemPairs ? pair / 5 * kPitch + pair % 5 : 0;
      }
    }
  }

  // Loads the patch at (first_y, first_x); pixels outside the image are 0. Executed by all threads of a
  // block, one row per warp at a time.
  REPVGG_DEVICE void Load(const Stem& stem, int image, int first_y, int first_x) const {
    const int row_bytes = stem.width * 3;
    const uint8_t* const in = stem.in + static_cast<size_t>(image) * stem.height * row_bytes;
#pragma unroll 3
    for (int row = threadIdx.x / 32; row < kRows; row += blockDim.x / 32) {
      const int y = first_y + row;
#pragma unroll
      for (int word = threadIdx.x % 32; word < kPitch; word += 32) {
        float value[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int place = word * 2 + e, byte = first_x * 3 + place;
          const bool inside =
              place < kColumns * 3 && y >= 0 && y < stem.height && byte >= 0 && byte < row_bytes;
          value[e] = inside ? in[y * row_bytes + byte] : 0;
        }
        words[row * kPitch + word] = Pack<Half>(value[0], value[1]);
      }
    }
  }

  // The window of the output pixel at (y, x) of the patch.
  REPVGG_DEVICE const uint32_t* Window(int y, int x) const { return words + 2 * y * kPitch + 3 * x; }

  // The sums of 16 pixels: `window` and `other` are the windows of this lane's two fragment rows.
  template <int kTiles>
  REPVGG_DEVICE void Multiply(const uint32_t* window, const uint32_t* other,
                              const StemFragments<kTiles>& weights, float (&sum)[kTiles][4]) const {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const uint32_t a[4] = {window[offset[step][0]], other[offset[step][0]], window[offset[step][1]],
                             other[offset[step][1]]};
#pragma unroll
      for (int j = 0; j < kTiles; ++j) Mma<Half>(sum[j], a, weights.high[step][j]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) Mma<Half>(sum[j], a, weights.low[step][j]);
    }
  }
};

// The epilogue of pixel (y, x) of the map: scale, bias and ReLU of this lane's channels, whose sums are 2
// half and 2 half + 1 of each tile.
template <typename T, int kTiles>
REPVGG_DEVICE void FinishStem(const Stem& stem, const StemChannels<kTiles>& channels,
                              const float (&sum)[kTiles][4], int half, int y, int x,
                              uint32_t (&words)[kTiles]) {
  const unsigned outside = (y == 0 ? 0x007u : 0u) | (2 * y + 1 >= stem.height ? 0x1c0u : 0u) |
                           (x == 0 ? 0x049u : 0u) | (2 * x + 1 >= stem.width ? 0x124u : 0u);
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
    const int channel = StemChannel<kTiles>(j, threadIdx.x % 4 * 2);
    float one = sum[j][half * 2] * channels.scale[channel] + channels.bias[channel];
    float other = sum[j][half * 2 + 1] * channels.scale[channel + 1] + channels.bias[channel + 1];
    for (int tap = 0; outside >> tap != 0; ++tap) {
      if ((outside >> tap & 1) == 0) continue;
      const float* const part = channels.taps + tap * (8 * kTiles) + channel;
      one -= part[0], other -= part[1];
    }
    if (stem.relu) one = Relu(one), other = Relu(other);
    words[j] = Pack<T>(one, other);
  }
}

// Stores this lane's channels of a pixel; `left` channels exist from `to` on.
template <typename T, int kTiles>
REPVGG_DEVICE void StoreStem(const uint32_t (&words)[kTiles], T* to, int left) {
  const int column = threadIdx.x % 4 * 2;
  constexpr int kWide = kTiles / 4 * 4;
#pragma unroll
  for (int j = 0; j < kWide; j += 4) {
    const int channel = StemChannel<kTiles>(j, column);
    if (channel >= left) continue;
    if constexpr (sizeof(T) == 1) {
      *reinterpret_cast<uint2*>(to + channel) =
          make_uint2(words[j] | words[j + 1] << 16, words[j + 2] | words[j + 3] << 16);
    } else {
      *reinterpret_cast<uint4*>(to + channel) =
          make_uint4(words[j], words[j + 1], words[j + 2], words[j + 3]);
    }
  }
  if constexpr (kWide < kTiles) {
    static_assert(kTiles - kWide == 2);
    const int channel = StemChannel<kTiles>(kWide, column);
    if (channel >= left) return;
    if constexpr (sizeof(T) == 1) {
      *reinterpret_cast<uint32_t*>(to + channel) = words[kWide] | words[kWide + 1] << 16;
    } else {
      *reinterpret_cast<uint2*>(to + channel) = make_uint2(words[kWide], words[kWide + 1]);
    }
  }
}

}  // namespace repvgg::cuda
