// Everything in the kernels that is not plain C++: inline PTX, CUDA's types and qualifiers, dynamic shared
// memory. With REPVGG_EMULATOR the same names come from test/emulator/cuda_emulated.h, which runs kernels on
// the CPU; kernels use nothing else of CUDA.
//
// Rules that let one source run in both places: kernels are launched through launch.cuh; no __shared__
// (SharedMemory() instead); no warp operation under divergence; block sizes in whole warps; shared memory is
// written in whole 4-byte words.
//
// Fragment layouts are those of the PTX ISA manual, "Matrix multiply-accumulate operation using mma". Lane l
// is written (g, t) = (l / 4, l % 4):
//   A 16x16   a[0] = A[g][2t, 2t+1]     a[1] = A[g+8][2t, 2t+1]
//             a[2] = A[g][2t+8, 2t+9]   a[3] = A[g+8][2t+8, 2t+9]
//   B 16x8    b[0] = B[2t, 2t+1][g]     b[1] = B[2t+8, 2t+9][g]
//   D 16x8    d[0, 1] = D[g][2t, 2t+1]  d[2, 3] = D[g+8][2t, 2t+1]
// TF32 (16x8 by 8x8) has one value where the 16-bit types have two: a[2] = A[g][t+4], b[1] = B[t+4][g].
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef REPVGG_EMULATOR
#include "test/emulator/cuda_emulated.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <mma.h>

#define REPVGG_DEVICE __device__ __forceinline__
#ifdef __CUDA_ARCH__
#define REPVGG_ARCH __CUDA_ARCH__
#else
#define REPVGG_ARCH 0
#endif

namespace repvgg::cuda {

// Storage types; arithmetic is in float.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
struct Fp8 {  // e4m3
  uint8_t bits;
};

REPVGG_DEVICE float ToFloat(float value) { return value; }
REPVGG_DEVICE float ToFloat(Half value) { return __half2float(__ushort_as_half(value.bits)); }
REPVGG_DEVICE float ToFloat(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

// Rounds to nearest, ties to even.
template <typename T>
REPVGG_DEVICE T FromFloat(float value);
template <>
REPVGG_DEVICE float FromFloat<float>(float value) {
  return value;
}
template <>
REPVGG_DEVICE Half FromFloat<Half>(float value) {
  return {__half_as_ushort(__float2half_rn(value))};
}
template <>
REPVGG_DEVICE BFloat16 FromFloat<BFloat16>(float value) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
}

// Packs two values into a word, `low` at the lower address.
template <typename T>
REPVGG_DEVICE uint32_t Pack(float low, float high);
template <>
REPVGG_DEVICE uint32_t Pack<Half>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}
template <>
REPVGG_DEVICE uint32_t Pack<BFloat16>(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// In the lower half of the word, `low` at the lower address. Saturates at 448, the largest e4m3 value.
template <>
REPVGG_DEVICE uint32_t Pack<Fp8>([[maybe_unused]] float low, [[maybe_unused]] float high) {
  uint16_t pair = 0;
#if REPVGG_ARCH >= 900
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
#endif
  return pair;
}

// Rounds to TF32 (10 bits of mantissa), ties away from zero, as cvt.rna.tf32 does.
REPVGG_DEVICE float RoundToTf32(float value) {
#if REPVGG_ARCH >= 800
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return __uint_as_float(bits);
#else
  return value;
#endif
}

REPVGG_DEVICE uint32_t FloatBits(float value) { return __float_as_uint(value); }

// The value of lane `lane ^ mask`. Executed by all lanes of the warp.
template <typename T>
REPVGG_DEVICE T ShuffleXor(T value, int mask) {
  return __shfl_xor_sync(~0u, value, mask);
}

// Returns `value` through a shuffle, so that the compiler keeps it in a register instead of recomputing it in
// every iteration of a loop, as it does with expressions of threadIdx, at tens of cycles. Executed by all
// lanes of the warp.
REPVGG_DEVICE int KeepInRegister(int value) { return ShuffleXor(value, 0); }

// The block's dynamic shared memory, aligned to 1024 bytes.
REPVGG_DEVICE unsigned char* SharedMemory() {
  extern __shared__ __align__(1024) unsigned char repvgg_shared_memory[];
  return repvgg_shared_memory;
}

REPVGG_DEVICE uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Copies kBytes (4, 8 or 16) from global to shared memory, or writes zeros if `valid` is false (`global` is
// not read then, but must be a mapped address). The copy is visible to this thread after CpAsyncWait, and to
// others after a barrier that follows it. Before sm_80 it is an ordinary load and store.
template <int kBytes>
REPVGG_DEVICE void CpAsync(void* shared, const void* global, bool valid) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
#if REPVGG_ARCH >= 800
  // cp.async.ca caches the line in L1: adjacent taps of a convolution read it again.
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(SharedAddress(shared)), "l"(global),
               "n"(kBytes), "r"(valid ? kBytes : 0)
               : "memory");
#else
  if constexpr (kBytes == 16) {
    *static_cast<uint4*>(shared) = valid ? *static_cast<const uint4*>(global) : make_uint4(0, 0, 0, 0);
  } else if constexpr (kBytes == 8) {
    *static_cast<uint2*>(shared) = valid ? *static_cast<const uint2*>(global) : make_uint2(0, 0);
  } else {
    *static_cast<uint32_t*>(shared) = valid ? *static_cast<const uint32_t*>(global) : 0;
  }
#endif
}

// Commits this thread's copies as a group.
REPVGG_DEVICE void CpAsyncCommit() {
#if REPVGG_ARCH >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most kPending of this thread's latest groups are pending.
template <int kPending>
REPVGG_DEVICE void CpAsyncWait() {
#if REPVGG_ARCH >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// Loads four 8x8 matrices of 16-bit values (or 8x4 of 32-bit ones). Lanes 8i to 8i + 7 give the addresses of
// the eight 16-byte rows of matrix i; lane (g, t) receives word t of row g of each matrix. sm_75 and up.
REPVGG_DEVICE void LdMatrixX4(uint32_t (&out)[4], const void* row) {
#if REPVGG_ARCH >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(SharedAddress(row))
               : "memory");
#endif
}

// Loads two matrices; the addresses of lanes 16 to 31 are ignored but must be valid.
REPVGG_DEVICE void LdMatrixX2(uint32_t (&out)[2], const void* row) {
#if REPVGG_ARCH >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(out[0]), "=r"(out[1])
               : "r"(SharedAddress(row))
               : "memory");
#endif
}

// d += a * b with fp32 accumulators. 16-bit types: 16x16 by 16x8; float: 16x8 by 8x8 in TF32, which uses the
// upper 19 bits of each value. Half needs sm_75, the others sm_80.
template <typename T>
REPVGG_DEVICE void Mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
REPVGG_DEVICE void Mma<Half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if REPVGG_ARCH >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif REPVGG_ARCH >= 750
  // Turing has m16n8k8 only: two of them.
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}

template <>
REPVGG_DEVICE void Mma<BFloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if REPVGG_ARCH >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

template <>
REPVGG_DEVICE void Mma<float>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if REPVGG_ARCH >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// 16x16x16 products by the wmma API, the only documented access to Volta's tensor cores. The layout of
// fragments is unspecified. Pointers are aligned to 32 bytes; pitches are in elements, multiples of 8 (Half)
// or 4 (float).
struct WmmaPixels {  // 16 rows of 16 values
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, __half, nvcuda::wmma::row_major> fragment;
};
struct WmmaWeights {  // 16 columns of 16 values
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, __half, nvcuda::wmma::col_major> fragment;
};
struct WmmaSum {
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> fragment;
};
REPVGG_DEVICE void WmmaClear(WmmaSum& sum) { nvcuda::wmma::fill_fragment(sum.fragment, 0.0f); }
REPVGG_DEVICE void WmmaLoad(WmmaPixels& to, const Half* from, int pitch) {
  nvcuda::wmma::load_matrix_sync(to.fragment, reinterpret_cast<const __half*>(from), pitch);
}
REPVGG_DEVICE void WmmaLoad(WmmaWeights& to, const Half* from, int pitch) {
  nvcuda::wmma::load_matrix_sync(to.fragment, reinterpret_cast<const __half*>(from), pitch);
}
REPVGG_DEVICE void WmmaMultiply(WmmaSum& sum, const WmmaPixels& pixels, const WmmaWeights& weights) {
  nvcuda::wmma::mma_sync(sum.fragment, pixels.fragment, weights.fragment, sum.fragment);
}
REPVGG_DEVICE void WmmaStore(float* to, const WmmaSum& from, int pitch) {
  nvcuda::wmma::store_matrix_sync(to, from.fragment, pitch, nvcuda::wmma::mem_row_major);
}

// Ends the launch with an error, after which the device is lost to the process: better than to return without
// results where the code that the driver has taken lacks a kernel's instructions.
REPVGG_DEVICE void Trap() { __trap(); }

// Programmatic dependent launch, for kernels launched by LaunchOverlapped (PTX ISA, "griddepcontrol"). After
// WaitForPreviousKernel, the previous kernel of the stream and all before it have completed, and their writes
// are visible to this thread, and to others after a barrier. Before it, a thread may read only what no kernel
// writes, and must not write global memory. At least one thread of every block must wait: otherwise the next
// kernel could overtake the previous one. AllowNextKernel lets the next kernel start once all blocks of this
// one have executed it; it is correct anywhere, and best at the beginning. Both do nothing before sm_90.
REPVGG_DEVICE void WaitForPreviousKernel() {
#if REPVGG_ARCH >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
REPVGG_DEVICE void AllowNextKernel() {
#if REPVGG_ARCH >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace repvgg::cuda

#endif  // REPVGG_EMULATOR
