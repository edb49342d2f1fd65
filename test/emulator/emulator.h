// Runs CUDA kernels on the CPU and checks every memory access they make.
//
// Each thread of a block is a fiber with its own stack; blocks are spread over a few OS threads. A fiber runs
// until it has to wait (for a barrier, for the other lanes of a warp operation); which fiber runs next is the
// schedule's choice, and a correct kernel gives the same result under all of them.
//
// Kernel sources are compiled with -fsanitize=thread, which makes the compiler call __tsan_read4(address) and
// its siblings before each access. Those functions are ours (memory_checks.cc): they know what is allocated,
// what was written, by whom and since which barrier. So plain pointers and array indices are checked as well
// as the functions of ptx.cuh. Found:
//   - access outside an allocation or outside the block's shared memory, misaligned access
//   - read of shared or global memory that nobody wrote
//   - write to memory that is an input; second write to a byte of an output in one launch
//   - two threads of a block touch one word of shared memory, one of them writing, with no barrier between
//     them (__syncthreads, or __syncwarp within a warp; shuffles and mma order nothing)
//   - shared memory used while a cp.async into it is in flight
//   - in an overlapped launch, what another kernel wrote is read, or anything is written, by a thread that
//     neither waited for the previous kernel nor met one that had at a barrier; a block that never waits
//   - warp operation that not all 32 lanes reach, barrier that not all threads reach
//   - in a cluster, what one block does to or reads of another's shared memory before that one has set it up
//     or written it, or after it may have ended
// Not found: missing __threadfence, bank conflicts, anything about time. Sums inside mma are in another order
// than the hardware's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace repvgg::emulator {

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

enum class Schedule { kAscending, kDescending, kRandom };
inline constexpr Schedule kSchedules[] = {Schedule::kAscending, Schedule::kDescending, Schedule::kRandom};

enum class Fault {
  kOutOfBounds,
  kMisaligned,
  kUninitialised,
  kReadOnly,
  kWrittenTwice,
  kRace,
  kInFlight,
  kDivergence,
};
const char* FaultName(Fault fault);

struct Report {
  Fault fault;
  std::string message;
};

// How the next launches run.
struct Settings {
  Schedule schedule = Schedule::kAscending;
  uint64_t seed = 1;  // Of kRandom.
  int os_threads = 2;
  bool abort_on_fault = false;  // For processes in which nobody takes the reports.
};
Settings& settings();

// The faults of all launches since the last call, at most one of a kind per place in the code.
std::vector<Report> TakeReports();

enum class Contents {
  kInput,    // May not be written by kernels.
  kOutput,   // Each byte may be written once per launch, and read after that.
  kScratch,  // May be read only after it was written by a kernel.
  kState,    // Written by the host, may be read and written.
};

// Global memory. What lies beyond either end of an allocation is unmapped as far as kernels are concerned.
void* Allocate(size_t bytes, Contents contents);
void Free(void* pointer);
// The number of bytes of an output or scratch that no kernel wrote.
size_t CountUnwritten(const void* pointer);

// `overlapped`: as if the kernel before had not ended before a thread waits for it. Each `cluster` blocks,
// eight at most, run at the same time.
void Run(Index3 grid, Index3 block, size_t shared_bytes, const std::function<void()>& kernel,
         bool overlapped = false, int cluster = 1);

// Seen from inside a kernel.
const Index3& ThreadIndex();
const Index3& BlockIndex();
const Index3& BlockSize();
const Index3& GridSize();
int ClusterRank();
unsigned char* BlockSharedMemory();
// 16 bytes that block `rank` of the cluster has where this one has `from`.
void LoadFromBlock(void* to, const void* from, int rank);

void WaitForPreviousKernel();
void BlockBarrier();
void ClusterBarrier();
void WarpBarrier(unsigned mask);
uint32_t ShuffleXor(unsigned mask, uint32_t value, int lane_mask);

void CopyAsync(void* shared, const void* global, int bytes, bool valid);
void CommitCopies();
void WaitCopies(int pending);

struct Words4 {
  uint32_t word[4];
};
Words4 LoadMatrices(const void* row, int count);
void StoreMatrices(void* row, Words4 values, int count);

enum class MmaType { kHalf, kBFloat16, kTf32, kFp8 };
struct MmaOperands {
  uint32_t a[4];
  uint32_t b[2];
  float c[4];
};
struct MmaResult {
  float d[4];
};
MmaResult MultiplyMatrices(MmaType type, MmaOperands operands);

// A 16x16 matrix as wmma spreads it: here, lane l has half of row l / 2.
struct MatrixPart {
  uint32_t word[4];
};
struct SumPart {
  float value[8];
};
MatrixPart LoadMatrixPart(const void* first, int pitch_bytes);
SumPart MultiplyParts(MatrixPart pixels, MatrixPart weights, SumPart sum);
void StoreSumPart(float* first, SumPart sum, int pitch);

}  // namespace repvgg::emulator
