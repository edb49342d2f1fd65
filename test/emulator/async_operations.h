// Hopper's asynchronous operations: barriers in shared memory, TMA and wgmma.
//
// A copy is carried out when it completes: under kAscending not before nothing else can run, under
// kDescending at once, under kRandom at any time and in any order. A product is carried out when it is waited
// for, and until then its sums are NaN. Who has seen what is tracked by vector clocks (fiber.h), so that a
// missing wait is found whatever the timing was: data that was not waited for, a stage that is filled while
// it may still be read, stores of data that is not fenced or not behind a barrier, sums that are used too
// early.
#pragma once

#include <array>

#include "cuda/tensor_map.h"
#include "test/emulator/emulator.h"

namespace repvgg::emulator {

// barriers.cc
void InitBarrier(uint64_t* barrier, int arrivals);
void ArriveAtBarrier(uint64_t* barrier, int expected_bytes);
// The barrier that block `rank` of the cluster has in the same place.
void ArriveAtBarrierOf(int rank, uint64_t* barrier);
void WaitAtBarrier(uint64_t* barrier, unsigned parity);
void NamedBarrier(int number, int threads);

// tma.cc
// Coordinates as the instruction has them; of pixels, then the tap's.
using Coordinates = std::array<int, 6>;
// With two `blocks`, to both of a cluster, each copy with a time of its own.
void LoadBox(void* shared, const cuda::TensorMap& map, Coordinates at, uint64_t* barrier, int blocks);
void StoreBox(const cuda::TensorMap& map, Coordinates at, const void* shared);
void FenceProxy();
void WaitStores();

// wgmma.cc
void FenceProducts();
void CommitProducts();
void WaitProducts(int pending);
// d = a * b, to which with `adds` d is added. Sums of kFp8 are as coarse as Hopper's.
void Multiply64(MmaType type, int columns, float* d, uint64_t a, uint64_t b, bool adds);

}  // namespace repvgg::emulator
