// The emulator's half of cuda/ptx.cuh: the same names, for the host compiler.
#pragma once

#include <cstdlib>
#include <cstring>

#include "test/emulator/emulator.h"
#include "test/emulator/formats.h"
#include "test/emulator/runtime_emulated.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define REPVGG_DEVICE inline
// The architecture whose path the kernels take.
#ifndef REPVGG_ARCH
#define REPVGG_ARCH 800
#endif

#define threadIdx (::repvgg::emulator::ThreadIndex())
#define blockIdx (::repvgg::emulator::BlockIndex())
#define blockDim (::repvgg::emulator::BlockSize())
#define gridDim (::repvgg::emulator::GridSize())

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline void __syncthreads() { repvgg::emulator::BlockBarrier(); }
inline void __syncwarp(unsigned mask = ~0u) { repvgg::emulator::WarpBarrier(mask); }

namespace repvgg::cuda {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
struct Fp8 {
  uint8_t bits;
};

inline float ToFloat(float value) { return value; }
inline float ToFloat(Half value) { return emulator::HalfToFloat(value.bits); }
inline float ToFloat(BFloat16 value) { return emulator::BFloat16ToFloat(value.bits); }
inline float ToFloat(Fp8 value) { return emulator::E4m3ToFloat(value.bits); }

template <typename T>
T FromFloat(float value);
template <>
inline float FromFloat<float>(float value) {
  return value;
}
template <>
inline Half FromFloat<Half>(float value) {
  return {emulator::FloatToHalf(value)};
}
template <>
inline BFloat16 FromFloat<BFloat16>(float value) {
  return {emulator::FloatToBFloat16(value)};
}
template <>
inline Fp8 FromFloat<Fp8>(float value) {
  return {emulator::FloatToE4m3(value)};
}

template <typename T>
uint32_t Pack(float low, float high) {
  return FromFloat<T>(low).bits | static_cast<uint32_t>(FromFloat<T>(high).bits) << 8 * sizeof(T);
}

inline float RoundToTf32(float value) { return emulator::FloatToTf32(value); }

inline uint32_t FloatBits(float value) { return emulator::FloatToBits(value); }

template <typename T>
T ShuffleXor(T value, int mask) {
  static_assert(sizeof(T) % 4 == 0);
  uint32_t words[sizeof(T) / 4];
  std::memcpy(words, &value, sizeof value);
  for (uint32_t& word : words) word = emulator::ShuffleXor(~0u, word, mask);
  std::memcpy(&value, words, sizeof value);
  return value;
}

inline int KeepInRegister(int value) { return ShuffleXor(value, 0); }

inline unsigned char* SharedMemory() { return emulator::BlockSharedMemory(); }
inline uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(shared) - emulator::BlockSharedMemory());
}

template <int kBytes>
void CpAsync(void* shared, const void* global, bool valid) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  emulator::CopyAsync(shared, global, kBytes, valid);
}
inline void CpAsyncCommit() { emulator::CommitCopies(); }
template <int kPending>
void CpAsyncWait() {
  emulator::WaitCopies(kPending);
}

// Operands go by value: an array whose address leaves the kernel would be instrumented and kept in memory.
inline void LdMatrixX4(uint32_t (&out)[4], const void* row) {
  const emulator::Words4 words = emulator::LoadMatrices(row, 4);
  for (int i = 0; i < 4; ++i) out[i] = words.word[i];
}
inline void LdMatrixX2(uint32_t (&out)[2], const void* row) {
  const emulator::Words4 words = emulator::LoadMatrices(row, 2);
  for (int i = 0; i < 2; ++i) out[i] = words.word[i];
}

template <typename T>
void Mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  constexpr emulator::MmaType kType = sizeof(T) == 4            ? emulator::MmaType::kTf32
                                      : std::is_same_v<T, Half> ? emulator::MmaType::kHalf
                                                                : emulator::MmaType::kBFloat16;
  const emulator::MmaResult result =
      emulator::MultiplyMatrices(kType, {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {d[0], d[1], d[2], d[3]}});
  for (int i = 0; i < 4; ++i) d[i] = result.d[i];
}

struct WmmaPixels {
  emulator::MatrixPart part;
};
struct WmmaWeights {
  emulator::MatrixPart part;
};
struct WmmaSum {
  emulator::SumPart part;
};
inline void WmmaClear(WmmaSum& sum) { sum = {}; }
inline void WmmaLoad(WmmaPixels& to, const Half* from, int pitch) {
  to.part = emulator::LoadMatrixPart(from, pitch * 2);
}
inline void WmmaLoad(WmmaWeights& to, const Half* from, int pitch) {
  to.part = emulator::LoadMatrixPart(from, pitch * 2);
}
inline void WmmaMultiply(WmmaSum& sum, const WmmaPixels& pixels, const WmmaWeights& weights) {
  sum.part = emulator::MultiplyParts(pixels.part, weights.part, sum.part);
}
inline void WmmaStore(float* to, const WmmaSum& from, int pitch) {
  emulator::StoreSumPart(to, from.part, pitch);
}

inline void Trap() { std::abort(); }

inline void WaitForPreviousKernel() { emulator::WaitForPreviousKernel(); }
inline void AllowNextKernel() {}

}  // namespace repvgg::cuda
