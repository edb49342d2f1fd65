#include "test/emulator/emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "test/emulator/fiber.h"

namespace repvgg::emulator {

constinit thread_local Worker* worker = nullptr;

namespace {

constexpr size_t kStackBytes = 128 * 1024;
constexpr size_t kGuardBytes = 4096;
constexpr int kMaxThreads = 1024;  // Of a block.

std::mutex reports_mutex;
std::map<std::pair<Fault, const void*>, Report> reports;

void FiberMain() {
  (*worker->kernel)();
  worker->Finish();
}

}  // namespace

// Saves the callee-saved registers and the stack pointer of one fiber and resumes another.
#ifdef __x86_64__
extern "C" void repvgg_switch_stacks(void** save, void* load);
asm(R"(
.text
.globl repvgg_switch_stacks
repvgg_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
static void Switch(Fiber& from, Fiber& to) { repvgg_switch_stacks(&from.stack_pointer, to.stack_pointer); }
#else
static void Switch(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }
#endif

Settings& settings() {
  static Settings value;
  return value;
}

const char* FaultName(Fault fault) {
  switch (fault) {
    case Fault::kOutOfBounds:
      return "out of bounds";
    case Fault::kMisaligned:
      return "misaligned";
    case Fault::kUninitialised:
      return "uninitialised";
    case Fault::kReadOnly:
      return "read only";
    case Fault::kWrittenTwice:
      return "written twice";
    case Fault::kRace:
      return "race";
    case Fault::kInFlight:
      return "in flight";
    case Fault::kDivergence:
      return "divergence";
  }
  return "";
}

void Complain(Fault fault, const void* place, const std::string& what) {
  const std::lock_guard lock(reports_mutex);
  if (reports.contains({fault, place})) return;
  char where[160] = "outside kernels";
  if (worker) {
    const Index3 b = worker->current ? worker->block().index : worker->blocks[0].index;
    std::snprintf(where, sizeof where, "block (%u, %u, %u) thread %d at %p", b.x, b.y, b.z,
                  worker->current ? worker->current->thread : -1, place);
  }
  const Report& report =
      reports[{fault, place}] = {fault, std::string(FaultName(fault)) + ": " + what + ", " + where};
  if (!settings().abort_on_fault) return;
  std::fprintf(stderr, "%s\n", report.message.c_str());
  std::abort();
}

std::vector<Report> TakeReports() {
  const std::lock_guard lock(reports_mutex);
  std::vector<Report> taken;
  for (auto& [key, report] : reports) taken.push_back(std::move(report));
  reports.clear();
  return taken;
}

Worker::Worker() : shared(MapSharedMemory()) {}

Worker::~Worker() {
  UnmapSharedMemory(shared);
  for (auto& fiber : fibers) munmap(fiber->stack - kGuardBytes, kStackBytes + kGuardBytes);
}

// Kept from launch to launch, whose threads are not: stacks are expensive to map.
class IdleWorkers {
 public:
  std::unique_ptr<Worker> Take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Worker>();
    std::unique_ptr<Worker> taken = std::move(idle_.back());
    idle_.pop_back();
    return taken;
  }
  void Give(std::unique_ptr<Worker> worker) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(worker));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> idle_;
};

static IdleWorkers& idle_workers() {
  static IdleWorkers* const value = new IdleWorkers;
  return *value;
}

void Worker::Start(Fiber& fiber) {
  if (!fiber.stack) {
    void* memory =
        mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    mprotect(memory, kGuardBytes, PROT_NONE);
    fiber.stack = static_cast<unsigned char*>(memory) + kGuardBytes;
  }
#ifdef __x86_64__
  void** top = reinterpret_cast<void**>(fiber.stack + kStackBytes - 64);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&FiberMain);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &FiberMain, 0);
#endif
}

void Worker::RunBlocks(int64_t first_block, int count) {
  blocks.assign(count, BlockState{});
  for (int rank = 0; rank < count; ++rank) {
    const int64_t i = first_block + rank;
    blocks[rank].index = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                          static_cast<unsigned>(i / grid.x / grid.y)};
    // NaN in every format, should a check miss a read of it.
    std::memset(SharedOf(rank), 0xff, shared_bytes);
  }
  const int all = threads * count;
  at_cluster_barrier = finished = 0;
  words.assign(((count - 1) * kMaxSharedBytes + shared_bytes + 3) / 4, WordState{});
  clocks.assign(all / kWarp, Clock{});
  for (int w = 0; w < all / kWarp; ++w) clocks[w].of[w] = 1;
  barriers.clear();
  loads.clear();
  product_reads.clear();
  warps.resize(all / kWarp);
  for (Warp& warp : warps) {
    warp.ready = ~0u;
    warp.arrived = 0;
    warp.operation = WarpOperation::kNone;
    warp.synced = 0;
  }
  for (int i = 0; i < all; ++i) {
    if (i == static_cast<int>(fibers.size())) fibers.push_back(std::make_unique<Fiber>());
    Fiber& fiber = *fibers[i];
    const int t = i % threads;
    fiber.thread = i;
    fiber.rank = i / threads;
    fiber.index = {t % block_size.x, t / block_size.x % block_size.y, t / block_size.x / block_size.y};
    fiber.copies.clear();
    fiber.copy_group = 0;
    fiber.stores.clear();
    fiber.products.clear();
    fiber.sums.clear();
    fiber.product_group = 0;
    fiber.proxy_fences = 0;
    fiber.products_fenced = fiber.previous_ended = false;
    Start(fiber);
  }
  current = nullptr;
  Fiber* first = Next();
  current = first;
  Switch(scheduler, *first);
  if (finished < all) {
    int waiting = 0, at_barrier = at_cluster_barrier;
    for (const Warp& warp : warps) waiting += warp.arrived;
    for (const BlockState& one : blocks) at_barrier += one.at_barrier;
    Complain(Fault::kDivergence, nullptr,
             std::to_string(finished) + " threads have ended, " + std::to_string(at_barrier) +
                 " wait at a barrier and " + std::to_string(waiting) + " in a warp operation");
  }
  CheckEnds();
}

// Shared memory is there until the last thread of its block ends: one of them must know by then that nobody
// else will do anything to it.
void Worker::CheckEnds() const {
  for (size_t rank = 0; rank < blocks.size(); ++rank) {
    const BlockState& own = blocks[rank];
    const auto first = fibers.begin() + static_cast<ptrdiff_t>(rank) * threads;
    const auto waited = [](const auto& fiber) { return fiber->previous_ended; };
    if (overlapped && std::none_of(first, first + threads, waited)) {
      Complain(Fault::kRace, nullptr,
               "a block of an overlapped kernel ends and has not waited for the previous one");
    }
    for (size_t warp = 0; warp < warps.size(); ++warp) {
      if (own.reached[warp] > own.ended.of[warp]) {
        Complain(Fault::kInFlight, nullptr, "a block ends before another has done its part in its memory");
      }
    }
    for (const auto& [address, barrier] : barriers) {
      if (barrier->rank == static_cast<int>(rank) &&
          barrier->loaded > own.ended.of[kMaxWarps + barrier->index]) {
        Complain(Fault::kInFlight, nullptr, "a block ends before a TMA load into its memory");
      }
    }
  }
}

Fiber* Worker::Next() {
  if (!loads.empty() && settings.schedule == Schedule::kDescending) CompleteLoad(0);
  if (!loads.empty() && settings.schedule == Schedule::kRandom && random() % 4 == 0) {
    CompleteLoad(random() % loads.size());
  }
  for (;;) {
    if (Fiber* const ready = Ready()) return ready;
    if (loads.empty()) return nullptr;
    CompleteLoad(0);
  }
}

// A warp runs until none of its lanes can, except under kRandom, where any ready warp may come next.
Fiber* Worker::Ready() {
  const int count = static_cast<int>(warps.size());
  int start = current ? current->thread / kWarp : 0;
  int step = 1;
  if (settings.schedule == Schedule::kDescending) {
    step = count - 1;
    if (!current) start = count - 1;
  } else if (settings.schedule == Schedule::kRandom) {
    start = static_cast<int>(random() % count);
  }
  for (int i = 0, w = start; i < count; ++i, w = (w + step) % count) {
    const uint32_t ready = warps[w].ready;
    if (!ready) continue;
    int lane = __builtin_ctz(ready);
    if (settings.schedule == Schedule::kDescending) {
      lane = 31 - __builtin_clz(ready);
    } else if (settings.schedule == Schedule::kRandom) {
      const int turn = static_cast<int>(random() % kWarp);
      lane = (__builtin_ctz((ready >> turn) | (turn ? ready << (kWarp - turn) : 0)) + turn) % kWarp;
    }
    return fibers[w * kWarp + lane].get();
  }
  return nullptr;
}

void Worker::Block() {
  Fiber* const from = current;
  Fiber* const next = Next();
  if (next == from) return;
  current = next;
  Switch(*from, next ? *next : scheduler);
}

void Worker::Finish() {
  if (!current->products.empty()) Complain(Fault::kInFlight, nullptr, "a thread ends before its products");
  if (!current->stores.empty()) Complain(Fault::kInFlight, nullptr, "a thread ends before its TMA stores");
  ++finished;
  block().ended.Join(clocks[current->thread / kWarp]);
  warp().ready &= ~(1u << lane());
  Block();
  std::abort();  // Nobody resumes a finished fiber.
}

void Run(Index3 grid, Index3 block, size_t shared_bytes, const std::function<void()>& kernel, bool overlapped,
         int cluster) {
  const int threads = static_cast<int>(block.x * block.y * block.z);
  if (cluster > kMaxCluster || grid.x % cluster != 0) {
    Complain(Fault::kDivergence, nullptr,
             std::to_string(grid.x) + " blocks in clusters of " + std::to_string(cluster));
    return;
  }
  if (threads % kWarp != 0 || threads > kMaxThreads || threads * cluster > kMaxWarps * kWarp ||
      shared_bytes > kMaxSharedBytes) {
    Complain(Fault::kDivergence, nullptr,
             "block of " + std::to_string(threads) + " threads, " + std::to_string(shared_bytes) +
                 " bytes of shared memory");
    return;
  }
  const int64_t blocks = static_cast<int64_t>(grid.x) * grid.y * grid.z;
  std::atomic<int64_t> next = 0;
  const auto work = [&] {
    std::unique_ptr<Worker> kept = idle_workers().Take();
    Worker& own = *kept;
    own.grid = grid;
    own.block_size = block;
    own.threads = threads;
    own.shared_bytes = shared_bytes;
    own.kernel = &kernel;
    own.overlapped = overlapped;
    own.settings = settings();
    worker = &own;
    for (int64_t i; (i = next++) < blocks / cluster;) {
      own.random.seed(own.settings.seed + i);
      own.RunBlocks(i * cluster, cluster);
    }
    worker = nullptr;
    idle_workers().Give(std::move(kept));
  };
  std::vector<std::thread> helpers;
  const int wanted = static_cast<int>(std::min<int64_t>(settings().os_threads, blocks / cluster));
  for (int i = 1; i < wanted; ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

const Index3& ThreadIndex() { return worker->current->index; }
const Index3& BlockIndex() { return worker->block().index; }
const Index3& BlockSize() { return worker->block_size; }
const Index3& GridSize() { return worker->grid; }
int ClusterRank() { return worker->current->rank; }
unsigned char* BlockSharedMemory() { return worker->own_shared(); }

void WaitForPreviousKernel() { worker->current->previous_ended = true; }

}  // namespace repvgg::emulator
