// What only Hopper has, as ptx.cuh is for the rest: barriers in shared memory, the tensor memory accelerator,
// products of four warps, registers that warps hand over. Everything here does nothing unless it is compiled
// for sm_90a; kSm90a says so. The emulator's half is test/emulator/cuda_emulated_sm90a.h.
//
// Facts from the PTX ISA manual: "Parallel Synchronization and Communication Instructions: mbarrier", "Data
// Movement and Conversion Instructions: cp.async.bulk.tensor", "Asynchronous Warpgroup Level Matrix
// Instructions".
#pragma once

#include "cuda/ptx.cuh"
#include "cuda/tensor_map.h"

namespace repvgg::cuda {

// The descriptor of an operand of Wgmma in shared memory: rows of 128 bytes (64 values of the reduction, or
// 128 of fp8), swizzled as TMA leaves them, in blocks of eight rows of 1024 bytes. `address` is that of the
// first row, in a block's first 128 bytes; 32 bytes more are the next 16 or 32 values.
REPVGG_DEVICE uint64_t MatrixDescriptor(uint32_t address) {
  constexpr uint64_t kBlockBytes = 1024, kSwizzle128 = 1;
  return (address & 0x3ffff) >> 4 | uint64_t{1} << 16 | kBlockBytes >> 4 << 32 | kSwizzle128 << 62;
}
// 32 bytes of the reduction further.
REPVGG_DEVICE uint64_t NextDescriptor(uint64_t descriptor, int steps) { return descriptor + 2 * steps; }

}  // namespace repvgg::cuda

#ifdef REPVGG_EMULATOR
#include "test/emulator/cuda_emulated_sm90a.h"
#else

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define REPVGG_SM90A(...) asm volatile(__VA_ARGS__)
#else
#define REPVGG_SM90A(...)
#endif

namespace repvgg::cuda {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
inline constexpr bool kSm90a = true;
#else
inline constexpr bool kSm90a = false;
#endif

// A barrier of 8 bytes in shared memory, for `arrivals` and the bytes that are expected of TMA. Its phases
// are numbered from 0. After the last MbarrierInit: MbarrierInitFence, and a barrier of the block.
REPVGG_DEVICE void MbarrierInit(uint64_t* barrier, int arrivals) {
  REPVGG_SM90A("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)),
               "r"(arrivals) : "memory");
}
REPVGG_DEVICE void MbarrierInitFence() { REPVGG_SM90A("fence.mbarrier_init.release.cluster;" :: : "memory"); }
REPVGG_DEVICE void MbarrierArrive(uint64_t* barrier) {
  REPVGG_SM90A("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(barrier)) : "memory");
}
// An arrival, after which the phase also waits for so many bytes.
REPVGG_DEVICE void MbarrierArriveExpect(uint64_t* barrier, int bytes) {
  REPVGG_SM90A("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(barrier)),
               "r"(bytes) : "memory");
}
// Waits until a phase of this parity is complete: of a new barrier, parity 1 is.
REPVGG_DEVICE void MbarrierWait(uint64_t* barrier, unsigned parity) {
  REPVGG_SM90A(
      "{\n.reg .pred done;\n"
      "wait:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra wait;\n}" ::"r"(SharedAddress(barrier)),
      "r"(parity) : "memory");
}

// The blocks of a cluster run at the same time and reach each other's shared memory. This block's number.
REPVGG_DEVICE int ClusterRank() {
  uint32_t rank = 0;
  REPVGG_SM90A("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
// Barriers of all threads of a cluster. Behind the first one, others' barriers in shared memory can be used,
// if MbarrierInitFence is ahead of it: it does not wait for other stores. Behind the second one, what the
// others wrote can be read, and what they did to this block's shared memory has been done.
REPVGG_DEVICE void ClusterSetupBarrier() {
  REPVGG_SM90A("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" :: : "memory");
}
REPVGG_DEVICE void ClusterBarrier() {
  REPVGG_SM90A("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.aligned;" :: : "memory");
}
// What block `rank` of the cluster has where this one has `from`: behind a ClusterBarrier after that block
// wrote it, and ahead of one before it ends.
REPVGG_DEVICE float4 LoadFromBlock(const float4* from, int rank) {
  float4 value = make_float4(0, 0, 0, 0);
  REPVGG_SM90A(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];\n}" : "=f"(value.x),
      "=f"(value.y), "=f"(value.z), "=f"(value.w) : "r"(SharedAddress(from)), "r"(rank) : "memory");
  return value;
}
// An arrival at the barrier that block `rank` of the cluster has where this one has `barrier`. With
// .release.cluster, ptxas has every arrival wait for all stores of the thread. CUTLASS does without it as
// well: what is handed over is a stage that wgmma has read, for TMA to fill, and no ordinary store.
REPVGG_DEVICE void MbarrierArriveAt(uint64_t* barrier, int rank) {
  REPVGG_SM90A(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(SharedAddress(barrier)),
      "r"(rank) : "memory");
}

// Copies of boxes; one thread asks for them. `shared` is aligned to 1024 bytes. Loads arrive at the barrier;
// in a cluster of kBlocks, in each of its blocks, and at the barrier that it has in the same place.
template <int kBlocks = 1>
REPVGG_DEVICE void TmaLoad(void* shared, const TensorMap& map, int c0, int c1, int c2, int c3,
                           uint64_t* barrier) {
  if constexpr (kBlocks == 1) {
    REPVGG_SM90A(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
        "%6}], "
        "[%2];" ::"r"(SharedAddress(shared)),
        "l"(&map), "r"(SharedAddress(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3) : "memory");
  } else {
    REPVGG_SM90A(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
        "[%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(SharedAddress(shared)),
        "l"(&map), "r"(SharedAddress(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3),
        "h"(static_cast<uint16_t>((1 << kBlocks) - 1)) : "memory");
  }
}
// (x, y) is the first tap of the first window, (-1, -1) at the top left; (tap_x, tap_y) are 0 to 2.
template <int kBlocks = 1>
REPVGG_DEVICE void TmaLoadPixels(void* shared, const TensorMap& map, int channel, int x, int y, int image,
                                 int tap_x, int tap_y, uint64_t* barrier) {
  if constexpr (kBlocks == 1) {
    REPVGG_SM90A(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
        "%4, %5, "
        "%6}], [%2], {%7, %8};" ::"r"(SharedAddress(shared)),
        "l"(&map), "r"(SharedAddress(barrier)), "r"(channel), "r"(x), "r"(y), "r"(image),
        "h"(static_cast<uint16_t>(tap_x)), "h"(static_cast<uint16_t>(tap_y)) : "memory");
  } else {
    REPVGG_SM90A(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::"
        "cluster "
        "[%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8}, %9;" ::"r"(SharedAddress(shared)),
        "l"(&map), "r"(SharedAddress(barrier)), "r"(channel), "r"(x), "r"(y), "r"(image),
        "h"(static_cast<uint16_t>(tap_x)), "h"(static_cast<uint16_t>(tap_y)),
        "h"(static_cast<uint16_t>((1 << kBlocks) - 1)) : "memory");
  }
}
// What ordinary stores wrote has to pass FenceForTma in the threads that wrote it, and a barrier, before
// this.
REPVGG_DEVICE void TmaStore(const TensorMap& map, int c0, int c1, int c2, int c3, const void* shared) {
  REPVGG_SM90A(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
      "r"(SharedAddress(shared)), "r"(c0), "r"(c1), "r"(c2), "r"(c3) : "memory");
}
REPVGG_DEVICE void FenceForTma() { REPVGG_SM90A("fence.proxy.async.shared::cta;" :: : "memory"); }
// This thread's stores since the last commit are a group. They have read shared memory after
// TmaStoreWaitRead, and are in global memory after TmaStoreWait.
REPVGG_DEVICE void TmaStoreCommit() { REPVGG_SM90A("cp.async.bulk.commit_group;" :: : "memory"); }
REPVGG_DEVICE void TmaStoreWaitRead() { REPVGG_SM90A("cp.async.bulk.wait_group.read 0;" :: : "memory"); }
REPVGG_DEVICE void TmaStoreWait() { REPVGG_SM90A("cp.async.bulk.wait_group 0;" :: : "memory"); }
REPVGG_DEVICE void PrefetchTensorMap(const TensorMap& map) {
  REPVGG_SM90A("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// A barrier of so many threads, whole warps. Number 0 is __syncthreads.
REPVGG_DEVICE void NamedBarrier(int number, int threads) {
  REPVGG_SM90A("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// The reverse of LdMatrix: lanes 8i to 8i + 7 give the addresses of the rows of matrix i.
REPVGG_DEVICE void StMatrixX4(void* row, uint32_t m0, uint32_t m1, uint32_t m2, uint32_t m3) {
  REPVGG_SM90A("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(SharedAddress(row)),
               "r"(m0), "r"(m1), "r"(m2), "r"(m3) : "memory");
}
REPVGG_DEVICE void StMatrixX2(void* row, uint32_t m0, uint32_t m1) {
  REPVGG_SM90A("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(SharedAddress(row)), "r"(m0),
               "r"(m1) : "memory");
}

// The value of the warp's first lane, which all lanes have: the compiler can rely on it.
REPVGG_DEVICE int WarpUniform(int value) { return __shfl_sync(~0u, value, 0); }

// The registers that each thread of this warpgroup may use from here on; the block's together stay what they
// were.
template <int kRegisters>
REPVGG_DEVICE void ReleaseRegisters() {
  REPVGG_SM90A("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
REPVGG_DEVICE void ClaimRegisters() {
  REPVGG_SM90A("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Wgmma's registers and operands are its own from the first Wgmma on until WgmmaWait; WgmmaFence comes
// between other uses of the registers and the first.
REPVGG_DEVICE void WgmmaFence() { REPVGG_SM90A("wgmma.fence.sync.aligned;" :: : "memory"); }
REPVGG_DEVICE void WgmmaCommit() { REPVGG_SM90A("wgmma.commit_group.sync.aligned;" :: : "memory"); }
// At most kPending of the latest groups are unfinished after this.
template <int kPending>
REPVGG_DEVICE void WgmmaWait() {
  REPVGG_SM90A("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// d += a * b (d = a * b without kAdds) for 64 rows and kColumns columns, 16 values of the reduction, or 32 of
// fp8. Both operands are in shared memory, rows and columns as MatrixDescriptor says. Warp w of the four has
// rows 16 w to 16 w + 15, and of these lane (g, t) has, in d[4 j] to d[4 j + 3], columns 8 j + 2 t and 8 j +
// 2 t + 1 of row g, then of row g + 8.
template <typename T, int kColumns>
struct WgmmaInstruction;
template <typename T, int kColumns, bool kAdds = true>
REPVGG_DEVICE void Wgmma(float (&d)[kColumns / 2], uint64_t a, uint64_t b) {
  WgmmaInstruction<T, kColumns>::template Issue<kAdds>(d, a, b);
}

// The operand list of each width: four registers for eight columns.
#define REPVGG_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define REPVGG_D16(i) REPVGG_D4(i), REPVGG_D4(i + 4), REPVGG_D4(i + 8), REPVGG_D4(i + 12)
#define REPVGG_S16_0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define REPVGG_S4_16 "%16, %17, %18, %19"
#define REPVGG_S8_16 REPVGG_S4_16 ", %20, %21, %22, %23"
#define REPVGG_S16_16 REPVGG_S8_16 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define REPVGG_S8_32 "%32, %33, %34, %35, %36, %37, %38, %39"
#define REPVGG_S16_32 REPVGG_S8_32 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define REPVGG_S16_48 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REPVGG_S16_64 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define REPVGG_S16_80 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define REPVGG_S16_96 \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define REPVGG_S16_112 \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define REPVGG_S32 REPVGG_S16_0 ", " REPVGG_S16_16
#define REPVGG_S48 REPVGG_S32 ", " REPVGG_S16_32
#define REPVGG_S64 REPVGG_S48 ", " REPVGG_S16_48
#define REPVGG_S80 REPVGG_S64 ", " REPVGG_S16_64
#define REPVGG_S96 REPVGG_S80 ", " REPVGG_S16_80
#define REPVGG_S128 REPVGG_S96 ", " REPVGG_S16_96 ", " REPVGG_S16_112

#define REPVGG_WGMMA(T, type, columns, names, a_name, b_name, ...)                                         \
  template <>                                                                                              \
  struct WgmmaInstruction<T, columns> {                                                                    \
    template <bool kAdds>                                                                                  \
    REPVGG_DEVICE static void Issue([[maybe_unused]] float (&d)[columns / 2], [[maybe_unused]] uint64_t a, \
                                    [[maybe_unused]] uint64_t b) {                                         \
      if constexpr (kAdds) {                                                                               \
        REPVGG_SM90A("wgmma.mma_async.sync.aligned.m64n" #columns REPVGG_SHAPE_##T type                    \
                     "." type " {" names "}, " a_name ", " b_name ", 1, 1, 1" REPVGG_ORDER_##T             \
                     ";" : __VA_ARGS__ : "l"(a),                                                           \
                     "l"(b));                                                                              \
      } else {                                                                                             \
        REPVGG_SM90A("wgmma.mma_async.sync.aligned.m64n" #columns REPVGG_SHAPE_##T type                    \
                     "." type " {" names "}, " a_name ", " b_name ", 0, 1, 1" REPVGG_ORDER_##T             \
                     ";" : __VA_ARGS__ : "l"(a),                                                           \
                     "l"(b));                                                                              \
      }                                                                                                    \
    }                                                                                                      \
  };
#define REPVGG_WGMMAS(T, type)                                                                           \
  REPVGG_WGMMA(T, type, 32, REPVGG_S16_0, "%16", "%17", REPVGG_D16(0))                                   \
  REPVGG_WGMMA(T, type, 40, REPVGG_S16_0 ", " REPVGG_S4_16, "%20", "%21", REPVGG_D16(0), REPVGG_D4(16))  \
  REPVGG_WGMMA(T, type, 48, REPVGG_S16_0 ", " REPVGG_S8_16, "%24", "%25", REPVGG_D16(0), REPVGG_D4(16),  \
               REPVGG_D4(20))                                                                            \
  REPVGG_WGMMA(T, type, 64, REPVGG_S32, "%32", "%33", REPVGG_D16(0), REPVGG_D16(16))                     \
  REPVGG_WGMMA(T, type, 80, REPVGG_S32 ", " REPVGG_S8_32, "%40", "%41", REPVGG_D16(0), REPVGG_D16(16),   \
               REPVGG_D4(32), REPVGG_D4(36))                                                             \
  REPVGG_WGMMA(T, type, 96, REPVGG_S48, "%48", "%49", REPVGG_D16(0), REPVGG_D16(16), REPVGG_D16(32))     \
  REPVGG_WGMMA(T, type, 128, REPVGG_S64, "%64", "%65", REPVGG_D16(0), REPVGG_D16(16), REPVGG_D16(32),    \
               REPVGG_D16(48))                                                                           \
  REPVGG_WGMMA(T, type, 160, REPVGG_S80, "%80", "%81", REPVGG_D16(0), REPVGG_D16(16), REPVGG_D16(32),    \
               REPVGG_D16(48), REPVGG_D16(64))                                                           \
  REPVGG_WGMMA(T, type, 192, REPVGG_S96, "%96", "%97", REPVGG_D16(0), REPVGG_D16(16), REPVGG_D16(32),    \
               REPVGG_D16(48), REPVGG_D16(64), REPVGG_D16(80))                                           \
  REPVGG_WGMMA(T, type, 256, REPVGG_S128, "%128", "%129", REPVGG_D16(0), REPVGG_D16(16), REPVGG_D16(32), \
               REPVGG_D16(48), REPVGG_D16(64), REPVGG_D16(80), REPVGG_D16(96), REPVGG_D16(112))
// Operands of 16 bits have flags for transposition.
#define REPVGG_SHAPE_Half "k16.f32."
#define REPVGG_SHAPE_BFloat16 "k16.f32."
#define REPVGG_SHAPE_Fp8 "k32.f32."
#define REPVGG_ORDER_Half ", 0, 0"
#define REPVGG_ORDER_BFloat16 ", 0, 0"
#define REPVGG_ORDER_Fp8 ""
REPVGG_WGMMAS(Half, "f16")
REPVGG_WGMMAS(BFloat16, "bf16")
REPVGG_WGMMAS(Fp8, "e4m3")

}  // namespace repvgg::cuda

#endif  // REPVGG_EMULATOR
