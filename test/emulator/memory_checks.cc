// What the compiler calls before each access of a kernel (-fsanitize=thread), and what is known of each byte
// of global and each word of shared memory. This file itself is not instrumented.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>

#include "test/emulator/fiber.h"

namespace repvgg::emulator {
namespace {

constexpr size_t kArenaBytes = size_t{1} << 36;  // Of addresses: pages exist once they are touched.
constexpr size_t kGap = size_t{8} << 20;         // A wrong index lands in it and is noticed.
constexpr size_t kSharedGap = size_t{1} << 20;

enum ByteState : uint8_t {
  kUnallocated,
  kUnwritten,
  kWritten,  // By the host.
  kComputed,
  kConstant,
  kOutputUnwritten,
  kOutputWritten
};

struct Arena {
  unsigned char* memory;
  uint8_t* states;  // A ByteState for every byte of memory.
  size_t used = kGap;
  std::map<const void*, size_t> allocations;
  std::mutex mutex;

  Arena() {
    memory = Map(kArenaBytes);
    states = Map(kArenaBytes);
  }
  static unsigned char* Map(size_t bytes) {
    void* mapped =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) std::abort();
    return static_cast<unsigned char*>(mapped);
  }
};

Arena& arena() {
  static Arena* const value = new Arena;
  return *value;
}
// Read on every access; set before the first kernel can run.
unsigned char* const arena_memory = arena().memory;
uint8_t* const arena_states = arena().states;

// Who is acting, and since which barriers.
struct Now {
  explicit Now(const Worker& w)
      : thread(w.current->thread),
        warp(static_cast<unsigned>(thread) / kWarp),
        rank(w.current->rank),
        synced(w.warps[warp].synced),
        block(w.blocks[rank]),
        clock(w.clocks[warp]) {}

  const int thread, warp, rank;
  const uint32_t synced;
  const BlockState& block;
  const Clock& clock;

  // Whether what thread `other` did at that time of its warp's is ordered before this by a barrier.
  bool Follows(int other, uint32_t when) const {
    if (other <= kLoaded) return clock.of[kMaxWarps + kLoaded - other] >= when;
    if (other == thread) return true;
    const int other_warp = other / kWarp;
    return other_warp == warp ? when < synced : clock.of[other_warp] >= when;
  }
  static int ReadingWarp(const WordState& word) {
    return word.reader >= 0 ? word.reader / kWarp : kSeveralLanes - word.reader;
  }
  // `of` is the block that has the word, whose threads have read it.
  bool FollowsReads(const WordState& word, int of) const {
    if (word.read_clock == 0) return true;
    if (word.reader == kSeveralWarps) return of == rank && word.read_clock != block.epoch;
    if (word.reader >= 0) return Follows(word.reader, word.read_clock);
    // What one lane of another warp says speaks for the rest once they have met.
    const int other = ReadingWarp(word);
    return word.read_clock < worker->warps[other].synced &&
           (other == warp || clock.of[other] >= word.read_clock);
  }
  // Whether all of these actions of warps, by their clocks, are ordered before this.
  bool FollowsWarps(const std::array<uint32_t, kMaxWarps>& when) const {
    return std::equal(when.begin(), when.begin() + worker->clocks.size(), clock.of.begin(),
                      std::less_equal());
  }
  bool FollowsProducts(size_t offset, size_t bytes) const {
    const auto& reads = worker->product_reads;
    for (size_t block = offset / 1024; block < reads.size() && block * 1024 < offset + bytes; ++block) {
      if (!FollowsWarps(reads[block])) return false;
    }
    return true;
  }
  // Whether nothing is to be checked or noted of a read, since one like it was.
  bool HasRead(const WordState& word) const {
    if (!word.settled) return false;
    if (word.reader == kSeveralWarps) return word.read_clock == block.epoch;
    return word.reader == kSeveralLanes - warp && word.read_clock == clock.of[warp];
  }
  void NoteRead(WordState& word) const {
    if (word.reader == kSeveralWarps && word.read_clock == block.epoch) return;
    word.reader = static_cast<int16_t>(FollowsReads(word, rank)    ? thread
                                       : ReadingWarp(word) == warp ? kSeveralLanes - warp
                                                                   : kSeveralWarps);
    word.read_clock = word.reader == kSeveralWarps ? block.epoch : clock.of[warp];
  }
};

std::string Thread(int thread) { return "thread " + std::to_string(thread); }

// `offset` is from the start of the first block's shared memory, and within that of block `rank`.
void CheckShared(size_t offset, size_t bytes, bool write, int rank, const void* place) {
  Worker& w = *worker;
  const size_t own = offset - rank * kMaxSharedBytes;  // Huge if it is negative.
  if (own > w.shared_bytes || own + bytes > w.shared_bytes) {
    return Complain(Fault::kOutOfBounds, place,
                    std::to_string(bytes) + " bytes of shared memory at offset " +
                        std::to_string(static_cast<ptrdiff_t>(own)) + " of " +
                        std::to_string(w.shared_bytes));
  }
  const Now now(w);
  if (write && !now.FollowsProducts(offset, bytes)) {
    Complain(Fault::kRace, place, "write of shared memory that a product may still read");
  }
  const bool may_skip = !write && rank == now.rank;
  WordState* const end = &w.words[(offset + bytes - 1) / 4] + 1;
  for (WordState* at = &w.words[offset / 4]; at < end; ++at) {
    WordState& word = *at;
    if (may_skip && now.HasRead(word)) continue;
    const auto complain = [&](Fault fault, const std::string& why) {
      Complain(fault, place,
               (write ? "write" : "read") + std::string(" of shared memory at offset ") +
                   std::to_string((at - w.words.data()) * 4) + why);
    };
    if (word.in_flight) complain(Fault::kInFlight, " that a copy of " + Thread(word.writer) + " fills");
    if (write && word.storing > 0) complain(Fault::kInFlight, " that a TMA store reads");
    if (word.writer != -1 && !now.Follows(word.writer, word.write_clock)) {
      complain(Fault::kRace, " and write by " + (word.writer < 0 ? "TMA" : Thread(word.writer)) +
                                 " with no barrier between them");
    }
    if (write) {
      if (!now.FollowsReads(word, rank) ||
          (word.read_by_others && !now.FollowsWarps(w.blocks[rank].reached))) {
        complain(Fault::kRace, " and reads by others with no barrier between them");
      }
      word.writer = static_cast<int16_t>(now.thread);
      word.write_clock = now.clock.of[now.warp];
      word.writer_fences = w.current->proxy_fences;
      word.written = true;
      word.settled = false;
    } else {
      if (!word.written) complain(Fault::kUninitialised, " that nobody wrote");
      if (rank == now.rank) {
        word.settled =
            word.writer >= 0 && !word.in_flight && word.write_clock < now.block.synced[word.writer / kWarp];
        now.NoteRead(word);
      } else {
        word.read_by_others = true;
      }
    }
  }
}

void CheckGlobal(size_t offset, size_t bytes, bool write, const void* place) {
  uint8_t* const states = arena_states + offset;
  const auto complain = [&](Fault fault, const char* why) {
    Complain(fault, place, std::to_string(bytes) + " bytes of global memory " + why);
  };
  const bool previous_ended = worker->PreviousEnded();
  if (write && !previous_ended) complain(Fault::kRace, "that the previous kernel may still use were written");
  for (size_t i = 0; i < bytes; ++i) {
    const uint8_t state = states[i];
    if (!previous_ended && (state == kComputed || state == kOutputWritten)) {
      return complain(Fault::kRace, "that the previous kernel may still write were read");
    }
    if (state == kUnallocated) return complain(Fault::kOutOfBounds, "that are not allocated");
    if (write) {
      if (state == kConstant) return complain(Fault::kReadOnly, "that are an input were written");
      if (state == kOutputWritten) return complain(Fault::kWrittenTwice, "were written a second time");
      states[i] = state == kOutputUnwritten ? kOutputWritten : kComputed;
    } else if (state == kUnwritten || state == kOutputUnwritten) {
      return complain(Fault::kUninitialised, "that nobody wrote were read");
    }
  }
}

}  // namespace

void CheckAccess(const void* address, size_t bytes, bool write, const void* place) {
  if (!worker || !worker->current) return;
  const auto at = static_cast<const unsigned char*>(address);
  const auto from_shared = static_cast<size_t>(at - (worker->shared - kSharedGap));
  if (from_shared < kMaxCluster * kMaxSharedBytes + 2 * kSharedGap) {
    return CheckShared(from_shared - kSharedGap, bytes, write, worker->current->rank, place);
  }
  const auto offset = static_cast<size_t>(at - arena_memory);
  if (offset < kArenaBytes) CheckGlobal(offset, bytes, write, place);
}

void LoadFromBlock(void* to, const void* from, int rank) {
  Worker& w = *worker;
  constexpr int kBytes = 16;
  if (rank < 0 || rank >= static_cast<int>(w.blocks.size())) {
    return Complain(Fault::kOutOfBounds, HERE, "block " + std::to_string(rank) + " of a cluster");
  }
  const unsigned char* const at =
      w.SharedOf(rank) + (static_cast<const unsigned char*>(from) - w.own_shared());
  if (reinterpret_cast<uintptr_t>(at) % kBytes != 0) Complain(Fault::kMisaligned, HERE, "load from a block");
  CheckShared(at - w.shared, kBytes, false, rank, HERE);
  if (!w.InShared(at, kBytes)) return;
  std::memcpy(to, at, kBytes);
  const int warp = w.current->thread / kWarp;
  if (rank != w.current->rank) w.blocks[rank].reached[warp] = w.clocks[warp].of[warp];
}

void BeginCopy(unsigned char* shared, const void* global, int bytes, bool valid, const void* place) {
  if (reinterpret_cast<uintptr_t>(shared) % bytes != 0 || reinterpret_cast<uintptr_t>(global) % bytes != 0) {
    Complain(Fault::kMisaligned, place, "cp.async of " + std::to_string(bytes) + " bytes");
  }
  const size_t offset = shared - worker->shared;
  CheckShared(offset, bytes, true, worker->current->rank, place);
  if (valid) CheckAccess(global, bytes, false, place);
  if (!worker->InShared(shared, bytes)) return;
  std::memset(shared, 0xff, bytes);
  for (int i = 0; i < bytes / 4; ++i) {
    worker->words[offset / 4 + i].in_flight = true;
  }
}

void EndCopy(const PendingCopy& copy) {
  const size_t offset = copy.shared - worker->shared;
  if (!worker->InShared(copy.shared, copy.bytes)) return;
  if (copy.valid) {
    std::memcpy(copy.shared, copy.global, copy.bytes);
  } else {
    std::memset(copy.shared, 0, copy.bytes);
  }
  const Now now(*worker);
  for (int i = 0; i < copy.bytes / 4; ++i) {
    WordState& word = worker->words[offset / 4 + i];
    word.in_flight = false;
    word.writer = static_cast<int16_t>(now.thread);
    word.write_clock = now.clock.of[now.warp];
    word.writer_fences = worker->current->proxy_fences;
  }
}

void BeginLoad(unsigned char* shared, int bytes, int rank, const void* place) {
  const size_t offset = shared - worker->shared;
  CheckShared(offset, bytes, true, rank, place);
  if (!worker->InShared(shared, bytes)) return;
  std::memset(shared, 0xff, bytes);
  for (int i = 0; i < bytes / 4; ++i) {
    worker->words[offset / 4 + i].in_flight = true;
  }
}

void EndLoad(unsigned char* shared, int bytes, const Barrier& barrier) {
  const size_t offset = shared - worker->shared;
  for (int i = 0; i < bytes / 4; ++i) {
    WordState& word = worker->words[offset / 4 + i];
    word.in_flight = false;
    word.writer = static_cast<int16_t>(kLoaded - barrier.index);
    word.write_clock = barrier.phase + 1;
    word.written = true;
  }
}

// One word of each 16 bytes speaks for all: nothing smaller is written where TMA and wgmma read.
void CheckAsyncRead(const unsigned char* shared, int bytes, const void* place) {
  const size_t offset = shared - worker->shared;
  if (!worker->InShared(shared, bytes)) {
    return Complain(Fault::kOutOfBounds, place, "asynchronous read beyond shared memory");
  }
  const Now now(*worker);
  for (size_t i = offset / 4; i < (offset + bytes) / 4; i += 4) {
    const WordState& word = worker->words[i];
    if (word.in_flight) return Complain(Fault::kInFlight, place, "asynchronous read of what a copy fills");
    if (!word.written)
      return Complain(Fault::kUninitialised, place, "asynchronous read of what nobody wrote");
    if (!now.Follows(word.writer, word.write_clock)) {
      return Complain(Fault::kRace, place, "asynchronous read of what was not waited for");
    }
    if (word.writer >= 0 && worker->fibers[word.writer]->proxy_fences <= word.writer_fences) {
      return Complain(Fault::kRace, place, "asynchronous read of an ordinary write without a fence");
    }
  }
}

void MarkStoring(const unsigned char* shared, int bytes, int change) {
  const size_t offset = shared - worker->shared;
  const Now now(*worker);
  for (int i = 0; i < bytes / 4; ++i) {
    WordState& word = worker->words[offset / 4 + i];
    word.storing = static_cast<int8_t>(word.storing + change);
    if (change < 0) now.NoteRead(word);
  }
}

unsigned char* MapSharedMemory() {
  return Arena::Map(kMaxCluster * kMaxSharedBytes + 2 * kSharedGap) + kSharedGap;
}
void UnmapSharedMemory(unsigned char* shared) {
  munmap(shared - kSharedGap, kMaxCluster * kMaxSharedBytes + 2 * kSharedGap);
}

void* Allocate(size_t bytes, Contents contents) {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  if (a.used + bytes + kGap > kArenaBytes) std::abort();
  unsigned char* const memory = a.memory + a.used;
  constexpr uint8_t kFirst[] = {kConstant, kOutputUnwritten, kUnwritten, kWritten};
  std::memset(a.states + a.used, kFirst[static_cast<int>(contents)], bytes);
  std::memset(memory, 0xff, bytes);
  a.allocations[memory] = bytes;
  a.used += (bytes + kGap + 255) / 256 * 256;
  return memory;
}

void Free(void* pointer) {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  const size_t offset = static_cast<unsigned char*>(pointer) - a.memory;
  std::memset(a.states + offset, kUnallocated, a.allocations.at(pointer));
  a.allocations.erase(pointer);
  if (!a.allocations.empty()) return;
  madvise(a.memory, a.used, MADV_DONTNEED);
  madvise(a.states, a.used, MADV_DONTNEED);
  a.used = kGap;
}

size_t CountUnwritten(const void* pointer) {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  const uint8_t* const states = a.states + (static_cast<const unsigned char*>(pointer) - a.memory);
  return std::count(states, states + a.allocations.at(pointer), kOutputUnwritten) +
         std::count(states, states + a.allocations.at(pointer), kUnwritten);
}

}  // namespace repvgg::emulator

// The interface that GCC and Clang compile to.
using repvgg::emulator::CheckAccess;
using repvgg::emulator::Complain;
using repvgg::emulator::Fault;
#define REPVGG_HOOKS(bytes)                                                                      \
  void __tsan_read##bytes(void* address) { CheckAccess(address, bytes, false, HERE); }           \
  void __tsan_write##bytes(void* address) { CheckAccess(address, bytes, true, HERE); }           \
  void __tsan_unaligned_read##bytes(void* address) { CheckAccess(address, bytes, false, HERE); } \
  void __tsan_unaligned_write##bytes(void* address) { CheckAccess(address, bytes, true, HERE); } \
  void __tsan_volatile_read##bytes(void* address) { CheckAccess(address, bytes, false, HERE); }  \
  void __tsan_volatile_write##bytes(void* address) { CheckAccess(address, bytes, true, HERE); }
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
REPVGG_HOOKS(1)
REPVGG_HOOKS(2)
REPVGG_HOOKS(4)
REPVGG_HOOKS(8)
REPVGG_HOOKS(16)
void __tsan_read_range(void* address, unsigned long bytes) { CheckAccess(address, bytes, false, HERE); }
void __tsan_write_range(void* address, unsigned long bytes) { CheckAccess(address, bytes, true, HERE); }

// -fsanitize=alignment,bounds of the same compilers: wrongly aligned vectors, and indices of local arrays.
struct SourceLocation {
  const char* file;
  uint32_t line, column;
};
static void ComplainAt(Fault fault, const SourceLocation* where, const void* place, const char* what) {
  Complain(fault, place, std::string(what) + " in " + where->file + ":" + std::to_string(where->line));
}
void __ubsan_handle_type_mismatch_v1(SourceLocation* where, uintptr_t) {
  ComplainAt(Fault::kMisaligned, where, HERE, "pointer that is null or not aligned");
}
void __ubsan_handle_out_of_bounds(SourceLocation* where, uintptr_t) {
  ComplainAt(Fault::kOutOfBounds, where, HERE, "array index");
}
}
