// Wrappers of Hopper's instructions, as ptx.cuh has for older architectures: mbarrier, clusters, TMA
// (cp.async.bulk.tensor), wgmma, stmatrix and setmaxnreg. They compile to nothing except for sm_90a; kSm90a
// says which. The emulator's implementation is test/emulator/cuda_emulated_sm90a.h.
//
// Source: PTX ISA manual, "Parallel Synchronization and Communication Instructions: mbarrier", "Data Movement
// and Conversion Instructions: cp.async.bulk.tensor", "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once

#include "cuda/ptx.cuh"
#include "cuda/tensor_map.h"

namespace repvgg::cuda {

// The wgmma descriptor of a K-major operand in shared memory with the 128-byte swizzle of TMA: rows of 128
// bytes (64 values of the reduction, 128 in fp8), in groups of eight rows (1024 bytes). `address` lies in the
// first 128 bytes of such a group; 32 bytes further are the next 16 (fp8: 32) values of the reduction.
REPVGG_DEVICE uint64_t MatrixDescriptor(uint32_t address) {
  constexpr uint64_t kBlockBytes = 1024, kSwizzle128 = 1;
  return (address & 0x3ffff) >> 4 | uint64_t{1} << 16 | kBlockBytes >> 4 << 32 | kSwizzle128 << 62;
}
// The operand of the wgmma `steps` times 32 bytes further along the reduction.
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

// An mbarrier: 8 bytes of shared memory; a phase completes after `arrivals` arrivals and the bytes expected
// from TMA. Phases are numbered from 0. MbarrierInitFence and a barrier of the block must follow the last
// MbarrierInit.
REPVGG_DEVICE void MbarrierInit(uint64_t* barrier, int arrivals) {
  REPVGG_SM90A("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)),
               "r"(arrivals) : "memory");
}
REPVGG_DEVICE void MbarrierInitFence() { REPVGG_SM90A("fence.mbarrier_init.release.cluster;" :: : "memory"); }
REPVGG_DEVICE void MbarrierArrive(uint64_t* barrier) {
  REPVGG_SM90A("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(barrier)) : "memory");
}
// An arrival that also makes the phase expect this many bytes from TMA.
REPVGG_DEVICE void MbarrierArriveExpect(uint64_t* barrier, int bytes) {
  REPVGG_SM90A("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(barrier)),
               "r"(bytes) : "memory");
}
// Waits until the phase of this parity has completed. On a new barrier, waiting for parity 1 returns at once.
REPVGG_DEVICE void MbarrierWait(uint64_t* barrier, unsigned parity) {
  REPVGG_SM90A(
      "{\n.reg .pred done;\n"
      "wait:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra wait;\n}" ::"r"(SharedAddress(barrier)),
      "r"(parity) : "memory");
}

// This block's rank in its cluster. The blocks of a cluster are co-scheduled and can access each other's
// shared memory.
REPVGG_DEVICE int ClusterRank() {
  uint32_t rank = 0;
  REPVGG_SM90A("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
// Barriers of all threads of a cluster. The setup barrier makes mbarriers that were initialised before
// MbarrierInitFence usable by other blocks; it is relaxed and orders no other stores. ClusterBarrier has
// release and acquire semantics: what other blocks wrote before it can be read after it.
REPVGG_DEVICE void ClusterSetupBarrier() {
  REPVGG_SM90A("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" :: : "memory");
}
REPVGG_DEVICE void ClusterBarrier() {
  REPVGG_SM90A("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.aligned;" :: : "memory");
}
// Reads the counterpart of `from` in the shared memory of block `rank` (distributed shared memory). A
// ClusterBarrier must lie between that block's writes and the read, and another one between the read and that
// block's exit.
REPVGG_DEVICE float4 LoadFromBlock(const float4* from, int rank) {
  float4 value = make_float4(0, 0, 0, 0);
  REPVGG_SM90A(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];\n}" : "=f"(value.x),
      "=f"(value.y), "=f"(value.z), "=f"(value.w) : "r"(SharedAddress(from)), "r"(rank) : "memory");
  return value;
}
// An arrival at the counterpart of `barrier` in block `rank`. Without .release.cluster, like CUTLASS: ptxas
// would make every arrival wait for all of the thread's stores, and no ordinary stores are handed over here,
// only a stage that wgmma has finished reading.
REPVGG_DEVICE void MbarrierArriveAt(uint64_t* barrier, int rank) {
  REPVGG_SM90A(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(SharedAddress(barrier)),
      "r"(rank) : "memory");
}

// TMA copies of boxes, issued by one thread; `shared` is aligned to 1024 bytes. Loads complete on the
// mbarrier. With kBlocks > 1 they are multicast to all blocks of the cluster, to the same offset and mbarrier
// in each.
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
// im2col mode. (x, y) is the first tap of the first window, (-1, -1) at the top left; (tap_x, tap_y) is the
// tap's offset, 0 to 2.
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
// Ordinary stores to `shared` must be followed by FenceForTma in the threads that wrote, and then by a
// barrier.
REPVGG_DEVICE void TmaStore(const TensorMap& map, int c0, int c1, int c2, int c3, const void* shared) {
  REPVGG_SM90A(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
      "r"(SharedAddress(shared)), "r"(c0), "r"(c1), "r"(c2), "r"(c3) : "memory");
}
REPVGG_DEVICE void FenceForTma() { REPVGG_SM90A("fence.proxy.async.shared::cta;" :: : "memory"); }
// Commits this thread's TMA stores as a group. After TmaStoreWaitRead they have read shared memory and it may
// be reused; after TmaStoreWait they are complete.
REPVGG_DEVICE void TmaStoreCommit() { REPVGG_SM90A("cp.async.bulk.commit_group;" :: : "memory"); }
REPVGG_DEVICE void TmaStoreWaitRead() { REPVGG_SM90A("cp.async.bulk.wait_group.read 0;" :: : "memory"); }
REPVGG_DEVICE void TmaStoreWait() { REPVGG_SM90A("cp.async.bulk.wait_group 0;" :: : "memory"); }
REPVGG_DEVICE void PrefetchTensorMap(const TensorMap& map) {
  REPVGG_SM90A("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// A named barrier of `threads` threads, whole warps. Number 0 is __syncthreads.
REPVGG_DEVICE void NamedBarrier(int number, int threads) {
  REPVGG_SM90A("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// Stores 8x8 matrices, the inverse of LdMatrix: lanes 8i to 8i + 7 give the row addresses of matrix i.
REPVGG_DEVICE void StMatrixX4(void* row, uint32_t m0, uint32_t m1, uint32_t m2, uint32_t m3) {
  REPVGG_SM90A("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(SharedAddress(row)),
               "r"(m0), "r"(m1), "r"(m2), "r"(m3) : "memory");
}
REPVGG_DEVICE void StMatrixX2(void* row, uint32_t m0, uint32_t m1) {
  REPVGG_SM90A("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(SharedAddress(row)), "r"(m0),
               "r"(m1) : "memory");
}

// Broadcasts the first lane's value, so that the compiler knows it to be warp-uniform.
REPVGG_DEVICE int WarpUniform(int value) { return __shfl_sync(~0u, value, 0); }

// Sets the register budget of each thread of this warpgroup. The block's total must stay within what the
// launch allocated.
template <int kRegisters>
REPVGG_DEVICE void ReleaseRegisters() {
  REPVGG_SM90A("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
REPVGG_DEVICE void ClaimRegisters() {
  REPVGG_SM90A("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// From the first Wgmma until WgmmaWait, accumulators and operands must not be touched. WgmmaFence orders
// earlier accesses to the registers before the first Wgmma.
REPVGG_DEVICE void WgmmaFence() { REPVGG_SM90A("wgmma.fence.sync.aligned;" :: : "memory"); }
REPVGG_DEVICE void WgmmaCommit() { REPVGG_SM90A("wgmma.commit_group.sync.aligned;" :: : "memory"); }
// Waits until at most kPending of the latest groups are in flight.
template <int kPending>
REPVGG_DEVICE void WgmmaWait() {
  REPVGG_SM90A("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// d += a * b (d = a * b without kAccumulate) for 64 rows, kColumns columns and a depth of 16 (fp8: 32). Both
// operands are in shared memory (MatrixDescriptor). Warp w of the warpgroup holds rows 16w to 16w + 15; d[4j]
// to d[4j + 3] of lane (g, t) are columns 8j + 2t and 8j + 2t + 1 of row g, then of row g + 8.
template <typename T, int kColumns>
struct WgmmaInstruction;
template <typename T, int kColumns, bool kAccumulate = true>
REPVGG_DEVICE void Wgmma(float (&d)[kColumns / 2], uint64_t a, uint64_t b) {
  WgmmaInstruction<T, kColumns>::template Issue<kAccumulate>(d, a, b);
}

// The operand lists: four registers per eight columns.
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
    template <bool kAccumulate>                                                                            \
    REPVGG_DEVICE static void Issue([[maybe_unused]] float (&d)[columns / 2], [[maybe_unused]] uint64_t a, \
                                    [[maybe_unused]] uint64_t b) {                                         \
      if constexpr (kAccumulate) {                                                                         \
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
// 16-bit types have two more immediates, which select transposed operands.
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
