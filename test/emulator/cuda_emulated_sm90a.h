// The emulator's half of cuda/ptx_sm90a.cuh.
#pragma once

#include "cuda/tensor_map.h"
#include "test/emulator/async_operations.h"

namespace repvgg::cuda {

inline constexpr bool kSm90a = true;

inline void MbarrierInit(uint64_t* barrier, int arrivals) { emulator::InitBarrier(barrier, arrivals); }
inline void MbarrierInitFence() {}
inline void MbarrierArrive(uint64_t* barrier) { emulator::ArriveAtBarrier(barrier, 0); }
inline void MbarrierArriveExpect(uint64_t* barrier, int bytes) { emulator::ArriveAtBarrier(barrier, bytes); }
inline void MbarrierWait(uint64_t* barrier, unsigned parity) { emulator::WaitAtBarrier(barrier, parity); }

inline int ClusterRank() { return emulator::ClusterRank(); }
inline void ClusterSetupBarrier() { emulator::ClusterBarrier(); }
inline void ClusterBarrier() { emulator::ClusterBarrier(); }
inline float4 LoadFromBlock(const float4* from, int rank) {
  float4 value;
  emulator::LoadFromBlock(&value, from, rank);
  return value;
}
inline void MbarrierArriveAt(uint64_t* barrier, int rank) { emulator::ArriveAtBarrierOf(rank, barrier); }

template <int kBlocks = 1>
void TmaLoad(void* shared, const TensorMap& map, int c0, int c1, int c2, int c3, uint64_t* barrier) {
  emulator::LoadBox(shared, map, {c0, c1, c2, c3, 0, 0}, barrier, kBlocks);
}
template <int kBlocks = 1>
void TmaLoadPixels(void* shared, const TensorMap& map, int channel, int x, int y, int image, int tap_x,
                   int tap_y, uint64_t* barrier) {
  emulator::LoadBox(shared, map, {channel, x, y, image, tap_x, tap_y}, barrier, kBlocks);
}
inline void TmaStore(const TensorMap& map, int c0, int c1, int c2, int c3, const void* shared) {
  emulator::StoreBox(map, {c0, c1, c2, c3, 0, 0}, shared);
}
inline void FenceForTma() { emulator::FenceProxy(); }
inline void TmaStoreCommit() {}
inline void TmaStoreWaitRead() { emulator::WaitStores(); }
inline void TmaStoreWait() { emulator::WaitStores(); }
inline void PrefetchTensorMap(const TensorMap&) {}

inline void NamedBarrier(int number, int threads) { emulator::NamedBarrier(number, threads); }

inline void StMatrixX4(void* row, uint32_t m0, uint32_t m1, uint32_t m2, uint32_t m3) {
  emulator::StoreMatrices(row, {{m0, m1, m2, m3}}, 4);
}
inline void StMatrixX2(void* row, uint32_t m0, uint32_t m1) {
  emulator::StoreMatrices(row, {{m0, m1, 0, 0}}, 2);
}

inline int WarpUniform(int value) { return value; }
template <int kRegisters>
void ReleaseRegisters() {}
template <int kRegisters>
void ClaimRegisters() {}

inline void WgmmaFence() { emulator::FenceProducts(); }
inline void WgmmaCommit() { emulator::CommitProducts(); }
template <int kPending>
void WgmmaWait() {
  emulator::WaitProducts(kPending);
}
template <typename T, int kColumns, bool kAdds = true>
void Wgmma(float (&d)[kColumns / 2], uint64_t a, uint64_t b) {
  constexpr emulator::MmaType kType = std::is_same_v<T, Fp8>    ? emulator::MmaType::kFp8
                                      : std::is_same_v<T, Half> ? emulator::MmaType::kHalf
                                                                : emulator::MmaType::kBFloat16;
  emulator::Multiply64(kType, kColumns, d, a, b, kAdds);
}

}  // namespace repvgg::cuda
