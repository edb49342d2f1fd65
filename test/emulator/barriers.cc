// Barriers of a block, of some of its threads, of a cluster, and in shared memory.
#include <memory>
#include <string>

#include "test/emulator/async_operations.h"
#include "test/emulator/fiber.h"

namespace repvgg::emulator {
namespace {

// Each of these warps learns what all of them know.
void ShareClocks(const std::vector<int>& warps) {
  Worker& w = *worker;
  Clock together;
  for (const int warp : warps) together.Join(w.clocks[warp]);
  for (const int warp : warps) {
    w.clocks[warp] = together;
    w.warps[warp].synced = ++w.clocks[warp].of[warp];
  }
}

// Counts to `blocks` times the threads of one, from block `first` on.
void Meet(int& arrived, int first, int blocks) {
  Worker& w = *worker;
  const int begin = first * w.threads, end = begin + blocks * w.threads;
  if (++arrived < end - begin) {
    w.warp().ready &= ~(1u << w.lane());
    w.Block();
    return;
  }
  arrived = 0;
  std::vector<int> warps;
  for (int warp = begin / kWarp; warp < end / kWarp; ++warp) warps.push_back(warp);
  ShareClocks(warps);
  for (int rank = first; rank < first + blocks; ++rank) {
    ++w.blocks[rank].epoch;
    for (const int warp : warps) w.blocks[rank].synced[warp] = w.warps[warp].synced;
  }
  bool ended = false;
  for (int t = begin; t < end; ++t) ended |= w.fibers[t]->previous_ended;
  for (int t = begin; t < end; ++t) w.fibers[t]->previous_ended = ended;
  for (const int warp : warps) w.warps[warp].ready = ~0u;
  // Not always the last to arrive goes first.
  w.Block();
}

void Wake(std::vector<int>& threads) {
  for (const int thread : threads) worker->warps[thread / kWarp].ready |= 1u << thread % kWarp;
  threads.clear();
}

void Sleep(std::vector<int>& waiting) {
  Worker& w = *worker;
  waiting.push_back(w.current->thread);
  w.warp().ready &= ~(1u << w.lane());
  w.Block();
}

// What this warp did so far is part of what others learn; what it does from now on is not.
Clock Release() {
  Worker& w = *worker;
  Clock& own = w.clocks[w.current->thread / kWarp];
  Clock released = own;
  if (w.current->previous_ended) released.of[kPreviousKernel] = 1;
  ++own.of[w.current->thread / kWarp];
  return released;
}

Barrier* FindOwn(const void* address, const void* place) {
  return FindBarrier(address, worker->current->rank, place);
}

void Arrive(Barrier& barrier, int expected_bytes, const void* place) {
  barrier.arriving.Join(Release());
  barrier.bytes += expected_bytes;
  if (--barrier.missing < 0)
    Complain(Fault::kDivergence, place, "more arrivals at a barrier than it waits for");
  EndPhaseIfComplete(barrier);
}

}  // namespace

void EndPhaseIfComplete(Barrier& barrier) {
  if (barrier.missing > 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.missing = barrier.arrivals;
  barrier.arriving.of[kMaxWarps + barrier.index] = barrier.phase;
  barrier.arrived = barrier.arriving;
  Wake(barrier.waiting);
}

Barrier* FindBarrier(const void* address, int rank, const void* place) {
  Worker& w = *worker;
  const auto offset = static_cast<const unsigned char*>(address) - w.own_shared();
  const auto found = w.barriers.find(w.SharedOf(rank) + offset);
  if (found == w.barriers.end()) {
    Complain(Fault::kUninitialised, place, "barrier in shared memory that nobody initialised");
    return nullptr;
  }
  Barrier* const barrier = found->second.get();
  if (rank != w.current->rank && w.clocks[w.current->thread / kWarp].of[barrier->maker] < barrier->made) {
    Complain(Fault::kRace, place, "barrier of another block that may not be initialised yet");
  }
  return barrier;
}

void InitBarrier(uint64_t* address, int arrivals) {
  auto barrier = std::make_unique<Barrier>();
  barrier->index = static_cast<int>(worker->barriers.size());
  barrier->arrivals = barrier->missing = arrivals;
  barrier->rank = worker->current->rank;
  barrier->maker = worker->current->thread / kWarp;
  barrier->made = worker->clocks[barrier->maker].of[barrier->maker];
  const size_t offset = reinterpret_cast<unsigned char*>(address) - worker->own_shared();
  if (offset % 8 != 0) Complain(Fault::kMisaligned, HERE, "barrier in shared memory");
  if (offset + 8 > worker->shared_bytes || barrier->index >= kMaxBarriers) {
    return Complain(Fault::kOutOfBounds, HERE, "barrier beyond shared memory");
  }
  worker->barriers[address] = std::move(barrier);
}

void ArriveAtBarrier(uint64_t* address, int expected_bytes) {
  if (Barrier* const barrier = FindOwn(address, HERE)) Arrive(*barrier, expected_bytes, HERE);
}

void ArriveAtBarrierOf(int rank, uint64_t* address) {
  Worker& w = *worker;
  if (rank < 0 || rank >= static_cast<int>(w.blocks.size())) {
    return Complain(Fault::kOutOfBounds, HERE, "block " + std::to_string(rank) + " of a cluster");
  }
  Barrier* const barrier = FindBarrier(address, rank, HERE);
  if (barrier == nullptr) return;
  const int warp = w.current->thread / kWarp;
  if (rank != w.current->rank) w.blocks[rank].reached[warp] = w.clocks[warp].of[warp];
  Arrive(*barrier, 0, HERE);
}

void WaitAtBarrier(uint64_t* address, unsigned parity) {
  Barrier* const barrier = FindOwn(address, HERE);
  if (barrier == nullptr) return;
  while ((barrier->phase & 1) == (parity & 1)) Sleep(barrier->waiting);
  worker->clocks[worker->current->thread / kWarp].Join(barrier->arrived);
}

void BlockBarrier() { Meet(worker->block().at_barrier, worker->current->rank, 1); }

void ClusterBarrier() { Meet(worker->at_cluster_barrier, 0, static_cast<int>(worker->blocks.size())); }

void NamedBarrier(int number, int threads) {
  Worker& w = *worker;
  std::vector<int>& waiting = w.block().named[number].waiting;
  if (static_cast<int>(waiting.size()) + 1 < threads) return Sleep(waiting);
  waiting.push_back(w.current->thread);
  std::vector<int> warps;
  for (const int thread : waiting) {
    const int warp = thread / kWarp;
    if (w.fibers[thread]->previous_ended) w.clocks[warp].of[kPreviousKernel] = 1;
    if (thread % kWarp == 0) warps.push_back(warp);
  }
  ShareClocks(warps);
  Wake(waiting);
}

}  // namespace repvgg::emulator
