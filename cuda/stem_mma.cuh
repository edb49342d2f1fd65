// The first layer's products on tensor cores, 16 pixels of a warp at a time: what stem_mma.cu and
// stem_fused.cu have in common, so that their maps are equal to the bit.
//
// Exactness. A pixel's bytes are exact in fp16, so normalisation goes to the other side: weights times the
// slope of a channel's normalisation, bias plus its value at 0. Each weight is the sum of two fp16 values,
// after dividing by the largest of its output channel: 22 bits and more. Padding is 0 after normalisation,
// which is not byte 0: what the taps outside the image add to the bias is taken off at the border again.
//
// The 27 values of a window are three runs of nine in memory; as five pairs each they fill 30 of the 32
// places of two steps, with no weight for the others.
#pragma once

#include "cuda/element.cuh"
#include "cuda/stem.h"

namespace repvgg::cuda {

inline constexpr int kStemPairs = 15;  // Of a window, five in a row.

// The channel of column n of tile j: each quarter of a warp gets 8 neighbours of 32, or 4 of the last 16.
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

// What the epilogue needs of each channel, in shared memory.
template <int kTiles>
struct StemChannels {
  static constexpr int kChannels = 8 * kTiles;
  static constexpr int kWords = 11 * kChannels;

  float* scale;
  float* bias;
  float* taps;  // [tap][channel]: its part of the bias.

  REPVGG_DEVICE explicit StemChannels(float* shared)
      : scale(shared), bias(scale + kChannels), taps(bias + kChannels) {}

  // By the first threads of a block; a barrier must follow.
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

// One lane's fragments of all weights, after Prepare.
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
            const int place = pair % 5 * 2 + e;  // Of the nine in a row of the window.
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

// Pixels of one image as fp16, two values to a word: kRows rows of kColumns pixels, of kPitch words each.
template <int kRows, int kColumns, int kPitch>
struct StemPatch {
  static constexpr int kWords = kRows * kPitch;

  uint32_t* words;
  int offset[2][2];  // Of this lane's pairs of a window.

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

  // From row `first_y` and column `first_x` on, which may lie outside the image; there it is 0. By all
  // threads of a block, a warp a row.
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

  // 16 pixels: `window` and `other` are those of this lane's two rows of the fragments.
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

// Bias and ReLU of this lane's channels of the pixel (y, x) of the map, which are sums 2 half and 2 half + 1
// of each tile.
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

// To the channels of that pixel, of which there are `left`.
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
