// One OS thread's current position: the block or cluster it is running and the fiber within it. Internal to
// the emulator.
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "test/emulator/async_operations.h"
#include "test/emulator/emulator.h"

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace repvgg::emulator {

inline constexpr int kWarp = 32;

// A copy that was issued and has not been waited for.
struct PendingCopy {
  unsigned char* shared;
  const void* global;
  int bytes;
  bool valid;
  unsigned group;
};

// A wgmma that was issued and has not been waited for, as one thread sees it.
struct PendingProduct {
  MmaType type;
  int columns;
  float* d;
  uint64_t a, b;
  bool adds;
  unsigned group;
};
// What the registers of a pending product really hold: they themselves are NaN until it is waited for.
struct HiddenSums {
  float* d;
  std::vector<float> values;
};

struct PendingStore {
  cuda::TensorMap map;
  Coordinates at;
  const unsigned char* shared;
  bool previous_ended;  // When it was asked for; of loads too.
};

struct Fiber {
#ifdef __x86_64__
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  unsigned char* stack = nullptr;
  Index3 index;
  int thread = 0;  // Linear index in the cluster: of each block, behind those of the one before.
  int rank = 0;    // Of the block.
  std::vector<PendingCopy> copies;
  unsigned copy_group = 0;  // Groups committed so far.
  std::vector<PendingStore> stores;
  uint16_t proxy_fences = 0;
  std::vector<PendingProduct> products;
  std::vector<HiddenSums> sums;
  unsigned product_group = 0;
  bool products_fenced = false;
  bool previous_ended = false;  // As far as this thread knows, by itself or by a barrier of the block.
};

enum class WarpOperation { kNone, kBarrier, kShuffle, kLoadMatrices, kStoreMatrices, kMma, kWmma, kWgmma };

struct Warp {
  uint32_t ready = 0;  // Lanes that can run.
  int arrived = 0;     // Lanes that wait in `operation`.
  WarpOperation operation = WarpOperation::kNone;
  uint32_t synced = 0;  // When its lanes last met at a barrier, by its clock.
  union {
    uint32_t value[kWarp];
    Words4 row[kWarp];
    const void* matrix[kWarp];
    MmaOperands mma[kWarp];
    struct {
      MatrixPart pixels, weights;
      SumPart sum;
    } wmma[kWarp];
  } in;
  union {
    uint32_t value[kWarp];
    Words4 words[kWarp];
    MmaResult mma[kWarp];
    SumPart wmma[kWarp];
  } out;
};

inline constexpr int kMaxCluster = 8;
inline constexpr int kMaxWarps = 12 * kMaxCluster;  // Of a cluster, as barriers are; a block has 32 at most.
inline constexpr int kMaxBarriers = 20 * kMaxCluster;
inline constexpr int kNamedBarriers = 16;
inline constexpr int kPreviousKernel = kMaxWarps + kMaxBarriers;

// What a warp knows to have happened, by way of barriers of every kind: for each warp, everything it did up
// to that time of its own; for each barrier in shared memory, the copies of the phases before that number;
// and whether the previous kernel has ended. A warp's own time ticks whenever others learn of it.
struct Clock {
  std::array<uint32_t, kMaxWarps + kMaxBarriers + 1> of = {};
  void Join(const Clock& other) {
    for (size_t i = 0; i < of.size(); ++i) of[i] = std::max(of[i], other.of[i]);
  }
};

// In shared memory.
struct Barrier {
  int index = 0;
  int arrivals = 0, missing = 0;
  int64_t bytes = 0;  // Expected, less those that have arrived.
  uint32_t phase = 0;
  uint32_t loaded = 0;  // Behind the last phase that a load was for.
  int rank = 0;         // Of the block that has it.
  int maker = 0;        // The warp that initialised it, and when.
  uint32_t made = 0;
  Clock arriving, arrived;  // Of this phase, and of all before.
  std::vector<int> waiting;
};

struct NamedBarrierState {
  std::vector<int> waiting;
};

// What each block of a cluster has of its own.
struct BlockState {
  Index3 index;
  int at_barrier = 0;
  uint32_t epoch = 1;                           // Number of __syncthreads and barriers of the cluster so far.
  std::array<uint32_t, kMaxWarps> synced = {};  // When each warp was last at one, by its clock.
  std::array<NamedBarrierState, kNamedBarriers> named;
  // When each warp of another block last arrived or read here, by its clock; and what the threads of this one
  // knew at their ends.
  std::array<uint32_t, kMaxWarps> reached = {};
  Clock ended;
};

struct PendingLoad {
  cuda::TensorMap map;
  Coordinates at;
  unsigned char* shared;
  Barrier* barrier;
  bool previous_ended;
};

// What is known of one 4-byte word of shared memory.
struct WordState {
  uint32_t write_clock =
      0;                    // Of the last write, by the writer's warp; of a TMA load, the phase's number + 1.
  uint32_t read_clock = 0;  // Of the last read; 0 if there was none. Of several warps, the block's epoch.
  int16_t writer = -1;      // Thread, or -1, or kLoaded - the barrier's index.
  int16_t reader = 0;       // Thread, kSeveralWarps, or kSeveralLanes - warp.
  uint16_t writer_fences = 0;  // FenceProxy of the writer before the write.
  bool written : 1 = false;
  bool settled : 1 = false;    // The write is before the block's last barrier, and so before all reads since.
  bool in_flight : 1 = false;  // Being filled by a copy of the writer.
  bool read_by_others : 1 = false;  // By another block.
  int8_t storing = 0;               // TMA stores that have yet to read it.
};
// A kernel's tiles have tens of thousands: their states should fit a cache as well.
static_assert(sizeof(WordState) == 16);
inline constexpr int16_t kLoaded = -2;
inline constexpr int16_t kSeveralWarps = -1;
inline constexpr int16_t kSeveralLanes = -2;

// One per OS thread; runs one block at a time, or those of a cluster.
struct Worker {
  Index3 grid, block_size;
  int threads = 0;                  // Of a block.
  size_t shared_bytes = 0;          // Of a block.
  unsigned char* shared = nullptr;  // Of the blocks, kMaxSharedBytes apart; so are their words.
  std::vector<BlockState> blocks;
  std::vector<WordState> words;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  Fiber* current = nullptr;
  Fiber scheduler;
  const std::function<void()>* kernel = nullptr;
  int at_cluster_barrier = 0;
  int finished = 0;
  Settings settings;
  std::minstd_rand random;
  std::vector<Clock> clocks;  // By warp.
  std::map<const void*, std::unique_ptr<Barrier>> barriers;
  std::deque<PendingLoad> loads;
  bool overlapped = false;
  const bool* copy_previous_ended = nullptr;  // Of the TMA copy that is being carried out.
  // When each warp's products last read each 1024 bytes of shared memory, by its clock.
  std::vector<std::array<uint32_t, kMaxWarps>> product_reads;

  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // `first` is the linear index of the first of `count` blocks.
  void RunBlocks(int64_t first, int count);
  BlockState& block() { return blocks[current->rank]; }
  unsigned char* SharedOf(int rank) const;
  unsigned char* own_shared() const { return SharedOf(current->rank); }
  bool InShared(const unsigned char* from, size_t bytes) const;
  Warp& warp() { return warps[current->thread / kWarp]; }
  int lane() const { return current->thread % kWarp; }
  bool PreviousEnded() const {
    if (!overlapped) return true;
    if (copy_previous_ended != nullptr) return *copy_previous_ended;
    return current->previous_ended || clocks[current->thread / kWarp].of[kPreviousKernel] != 0;
  }
  // Runs other fibers until the current one is ready again.
  void Block();
  // Called by the last action of a fiber.
  [[noreturn]] void Finish();

 private:
  Fiber* Next();
  Fiber* Ready();
  void CheckEnds() const;
  void Start(Fiber& fiber);
};

// Null outside kernels. Being constinit, it is read without asking at each access whether it has been
// initialised.
extern constinit thread_local Worker* worker;

// Where a kernel has called the function that says this.
#define HERE __builtin_return_address(0)

// `place` is an address in the code.
void Complain(Fault fault, const void* place, const std::string& what);

// barriers.cc
// The barrier of block `rank` that has the place of this block's `address`; null, with a report, if there is
// none.
Barrier* FindBarrier(const void* address, int rank, const void* place);
void EndPhaseIfComplete(Barrier& barrier);

// tma.cc
void CompleteLoad(size_t index);

// memory_checks.cc
// Into the shared memory of block `rank`.
void BeginLoad(unsigned char* shared, int bytes, int rank, const void* place);
void EndLoad(unsigned char* shared, int bytes, const Barrier& barrier);
// Of shared memory, by TMA or wgmma.
void CheckAsyncRead(const unsigned char* shared, int bytes, const void* place);
void MarkStoring(const unsigned char* shared, int bytes, int change);
void CheckAccess(const void* address, size_t bytes, bool write, const void* place);
void BeginCopy(unsigned char* shared, const void* global, int bytes, bool valid, const void* place);
void EndCopy(const PendingCopy& copy);
// The shared memory of a worker's blocks lies in its own range of addresses, with nothing near it.
unsigned char* MapSharedMemory();
void UnmapSharedMemory(unsigned char* shared);
inline constexpr size_t kMaxSharedBytes = 256 * 1024;

inline unsigned char* Worker::SharedOf(int rank) const { return shared + rank * kMaxSharedBytes; }
inline bool Worker::InShared(const unsigned char* from, size_t bytes) const {
  const auto offset = static_cast<size_t>(from - shared);
  return offset / kMaxSharedBytes < blocks.size() && offset % kMaxSharedBytes + bytes <= shared_bytes;
}

}  // namespace repvgg::emulator
