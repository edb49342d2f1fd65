// One OS thread's current position: the block it is running and the fiber within it. Internal to the
// emulator.
#pragma once

#include <memory>
#include <random>
#include <vector>

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

struct Fiber {
#ifdef __x86_64__
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  unsigned char* stack = nullptr;
  Index3 index;
  int thread = 0;  // Linear index in the block.
  std::vector<PendingCopy> copies;
  unsigned copy_group = 0;  // Groups committed so far.
};

enum class WarpOperation { kNone, kBarrier, kShuffle, kLoadMatrices, kMma, kWmma };

struct Warp {
  uint32_t ready = 0;  // Lanes that can run.
  int arrived = 0;     // Lanes that wait in `operation`.
  WarpOperation operation = WarpOperation::kNone;
  uint32_t epoch = 0;  // Number of __syncwarp so far.
  union {
    uint32_t value[kWarp];
    const unsigned char* row[kWarp];
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

// What is known of one 4-byte word of shared memory.
struct WordState {
  uint32_t write_stamp;  // Barrier epochs of the last write; see Stamp().
  uint32_t read_stamp;
  int16_t writer;     // Thread, or -1.
  int16_t reader;     // Thread, kSeveralWarps, or kSeveralLanes - warp.
  int16_t in_flight;  // Thread whose cp.async is filling the word, or -1.
  int16_t written;
};
inline constexpr int16_t kSeveralWarps = -1;
inline constexpr int16_t kSeveralLanes = -2;

// One per OS thread; runs one block at a time.
struct Worker {
  Index3 grid, block_size, block;
  int threads = 0;
  size_t shared_bytes = 0;
  unsigned char* shared = nullptr;
  std::vector<WordState> words;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  Fiber* current = nullptr;
  Fiber scheduler;
  const std::function<void()>* kernel = nullptr;
  int at_barrier = 0;
  int finished = 0;
  uint32_t epoch = 0;  // Number of __syncthreads so far.
  Settings settings;
  std::minstd_rand random;

  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void RunBlock(Index3 index);
  Warp& warp() { return warps[current->thread / kWarp]; }
  int lane() const { return current->thread % kWarp; }
  // Runs other fibers until the current one is ready again.
  void Block();
  // Called by the last action of a fiber.
  [[noreturn]] void Finish();

 private:
  Fiber* Next();
  void Start(Fiber& fiber);
};

extern thread_local Worker* worker;  // Null outside kernels.

void Complain(Fault fault, const void* place, const std::string& what);

// memory_checks.cc
void CheckAccess(const void* address, size_t bytes, bool write, const void* place);
void BeginCopy(unsigned char* shared, const void* global, int bytes, bool valid, const void* place);
void EndCopy(const PendingCopy& copy);
// The shared memory of a worker lies in its own range of addresses, with nothing near it.
unsigned char* MapSharedMemory();
void UnmapSharedMemory(unsigned char* shared);
inline constexpr size_t kMaxSharedBytes = 256 * 1024;

}  // namespace repvgg::emulator
