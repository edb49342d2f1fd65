// The pixel operand of an implicit GEMM: rows are output pixels, columns are (tap, channel) in the order of
// convolution.h. The threads of a block gather a tile of kRows pixels by one step (64 bytes per row) from the
// input map into shared memory.
//
// Each thread fills one 16-byte column of several rows. The offset of each row's window centre, and a 9-bit
// mask of the taps inside the map, are computed once; a step then costs an addition and a bit test per row.
#pragma once

#include "cuda/convolution.h"
#include "cuda/ptx.cuh"

namespace repvgg::cuda {

inline constexpr int kChunkBytes = 16;
inline constexpr int kRowBytes = kStepChunks * kChunkBytes;

// The swizzled position of a 16-byte chunk. Two 64-byte rows span all 32 banks; XORing the chunk with bits 1
// and 2 of the row makes it conflict-free to read one chunk of eight rows (ldmatrix, or float4 by eight
// lanes) and to write two whole rows by eight lanes.
REPVGG_DEVICE constexpr int SwizzledOffset(int row, int chunk) {
  return row * kRowBytes + ((chunk ^ (row >> 1 & 3)) * kChunkBytes);
}
struct SwizzledRows {
  static constexpr int kPitch = kRowBytes;
  REPVGG_DEVICE static constexpr int Offset(int row, int chunk) { return SwizzledOffset(row, chunk); }
};

// For wmma, whose loads have a fixed pitch: padding instead of a swizzle. The C++ API takes pitches of 16
// bytes, the PTX that it becomes wants 32 (PTX ISA, "Matrix storage for WMMA"); the machine code for sm_70
// and sm_75, the only ones that run it, reads 16 bytes at a time (LDS.128, LDSM).
struct PaddedRows {
  static constexpr int kPitch = kRowBytes + kChunkBytes;
  REPVGG_DEVICE static constexpr int Offset(int row, int chunk) { return row * kPitch + chunk * kChunkBytes; }
};

// kAligned: a group's channels are whole chunks. Otherwise elements are loaded one by one.
template <typename T, int kRows, int kThreads, bool kAligned, typename Rows = SwizzledRows>
class PixelTile {
 public:
  static constexpr int kBytes = kRows * Rows::kPitch;
  static constexpr int kPerChunk = kChunkBytes / static_cast<int>(sizeof(T));

  REPVGG_DEVICE PixelTile(const Convolution& layer, int first_pixel, int group)
      : in_(static_cast<const T*>(layer.in)),
        row_stride_(layer.width * layer.in_channels),
        pixel_stride_(layer.in_channels),
        channels_(layer.group_in()),
        chunks_(DivideUp(channels_, kPerChunk)),
        position_(chunks_) {
    const int column = threadIdx.x % kStepChunks;
    const int first_row = threadIdx.x / kStepChunks;
    destination_ = KeepInRegister(Rows::Offset(first_row, column));
    position_.Advance(column, chunks_);
    const int out_width = layer.out_width(), out_height = layer.out_height();
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      const int pixel = first_pixel + first_row + i * kRowStep;
      const int line = pixel / out_width;
      const int x = (pixel - line * out_width) * layer.stride;
      const int image = line / out_height;
      const int y = (line - image * out_height) * layer.stride;
      const unsigned rows = (y > 0 ? 0x007u : 0u) | 0x038u | (y + 1 < layer.height ? 0x1c0u : 0u);
      const unsigned columns = (x > 0 ? 0x049u : 0u) | 0x092u | (x + 1 < layer.width ? 0x124u : 0u);
      taps_[i] = pixel < layer.pixels() ? rows & columns : 0;
      center_[i] = ((image * layer.height + y) * layer.width + x) * layer.in_channels + group * channels_;
    }
  }

  // Issues the copies of the next step to `tile`; the caller commits. Rows beyond the last pixel, taps
  // outside the map and positions past the end of the reduction are zero-filled.
  REPVGG_DEVICE void LoadNext(unsigned char* tile) {
    const Source source(*this);
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      if (!HasRow(i)) break;
      const bool valid = source.Valid(*this, i);
      const T* const from = valid ? in_ + (center_[i] + source.offset) : in_;
      unsigned char* const to = tile + destination_ + i * kRowStep * Rows::kPitch;
      if constexpr (kAligned) {
        CpAsync<kChunkBytes>(to, from, valid);
      } else {
        *reinterpret_cast<uint4*>(to) = LoadElements(from, valid ? channels_ - source.channel : 0);
      }
    }
    position_.Advance(kStepChunks, chunks_);
  }

  // LoadNext in two parts, for architectures without cp.async: loads to registers ahead of a step's products,
  // stores to shared memory after them.
  REPVGG_DEVICE void FetchNext(uint4 (&fetched)[DivideUp(kRows, kThreads / kStepChunks)]) {
    const Source source(*this);
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      fetched[i] = make_uint4(0, 0, 0, 0);
      if (!HasRow(i) || !source.Valid(*this, i)) continue;
      const T* const from = in_ + (center_[i] + source.offset);
      if constexpr (kAligned) {
        fetched[i] = *reinterpret_cast<const uint4*>(from);
      } else {
        fetched[i] = LoadElements(from, channels_ - source.channel);
      }
    }
    position_.Advance(kStepChunks, chunks_);
  }
  REPVGG_DEVICE void Store(unsigned char* tile,
                           const uint4 (&fetched)[DivideUp(kRows, kThreads / kStepChunks)]) const {
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      if (HasRow(i))
        *reinterpret_cast<uint4*>(tile + destination_ + i * kRowStep * Rows::kPitch) = fetched[i];
    }
  }

 private:
  static constexpr int kRowStep = kThreads / kStepChunks;
  static constexpr int kRowsPerThread = DivideUp(kRows, kRowStep);
  static_assert(kRowStep % 8 == 0);  // All rows of a thread have the same swizzle.

  REPVGG_DEVICE static bool HasRow(int i) {
    return kRows % kRowStep == 0 || static_cast<int>(threadIdx.x) / kStepChunks + i * kRowStep < kRows;
  }

  // This thread's column of the next step: one tap and one chunk of channels, for all of its rows.
  struct Source {
    int channel;
    int offset;  // From the centre of the window.
    int tap;
    bool inside;

    REPVGG_DEVICE explicit Source(const PixelTile& tile) {
      const ReductionPosition& at = tile.position_;
      const int line = at.tap * 11 >> 5;  // tap / 3
      tap = at.tap;
      channel = (at.first_chunk + at.chunk) * kPerChunk;
      offset = (line - 1) * tile.row_stride_ + (tap - 3 * line - 1) * tile.pixel_stride_ + channel;
      inside = at.block_chunks > 0;
    }
    REPVGG_DEVICE bool Valid(const PixelTile& tile, int i) const {
      return inside && (tile.taps_[i] >> tap & 1) != 0;
    }
  };

  REPVGG_DEVICE static uint4 LoadElements(const T* from, int count) {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (sizeof(T) == 4) {
        words[i] = i < count ? reinterpret_cast<const uint32_t*>(from)[i] : 0;
      } else {
        const auto* const bits = reinterpret_cast<const uint16_t*>(from);
        words[i] = 2 * i < count ? bits[2 * i] : 0;
        if (2 * i + 1 < count) words[i] |= static_cast<uint32_t>(bits[2 * i + 1]) << 16;
      }
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
  }

  const T* in_;
  int row_stride_;
  int pixel_stride_;
  int channels_;  // Per group.
  int chunks_;
  ReductionPosition position_;  // This thread's column in the next step.
  int destination_;
  int center_[kRowsPerThread];
  unsigned taps_[kRowsPerThread];
};

}  // namespace repvgg::cuda
