#include "test/emulator/emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "test/emulator/fiber.h"

namespace repvgg::emulator {

constinit thread_local Worker* worker = nullptr;

namespace {

constexpr size_t kStackBytes = 128 * 1024;
constexpr size_t kGuardBytes = 4096;
constexpr int kMaxThreads = 1024;

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
    const Index3& b = worker->block;
    std::snprintf(where, sizeof where, "block (%u, %u, %u) thread %d at %p", b.x, b.y, b.z,
                  worker->current ? worker->current->thread : -1, place);
  }
  reports[{fault, place}] = {fault, std::string(FaultName(fault)) + ": " + what + ", " + where};
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

void Worker::RunBlock(Index3 index) {
  block = index;
  at_barrier = finished = 0;
  epoch = 1;
  // NaN in every format, should a check miss a read of it.
  std::memset(shared, 0xff, shared_bytes);
  words.assign((shared_bytes + 3) / 4, WordState{0, 0, 0, 0, 0, -1, -1, -1, 0, 0});
  clocks.assign(threads / kWarp, Clock{});
  for (int w = 0; w < threads / kWarp; ++w) clocks[w].of[w] = 1;
  barriers.clear();
  named = {};
  loads.clear();
  product_reads.clear();
  warps.resize(threads / kWarp);
  for (Warp& warp : warps) {
    warp.ready = ~0u;
    warp.arrived = 0;
    warp.operation = WarpOperation::kNone;
    warp.epoch = 0;
  }
  for (int t = 0; t < threads; ++t) {
    if (t == static_cast<int>(fibers.size())) fibers.push_back(std::make_unique<Fiber>());
    Fiber& fiber = *fibers[t];
    fiber.thread = t;
    fiber.index = {t % block_size.x, t / block_size.x % block_size.y, t / block_size.x / block_size.y};
    fiber.copies.clear();
    fiber.copy_group = 0;
    fiber.stores.clear();
    fiber.products.clear();
    fiber.sums.clear();
    fiber.product_group = fiber.proxy_fences = 0;
    fiber.products_fenced = fiber.previous_ended = false;
    Start(fiber);
  }
  current = nullptr;
  Fiber* first = Next();
  current = first;
  Switch(scheduler, *first);
  if (finished < threads) {
    int waiting = 0;
    for (const Warp& warp : warps) waiting += warp.arrived;
    Complain(Fault::kDivergence, nullptr,
             std::to_string(finished) + " threads have ended, " + std::to_string(at_barrier) +
                 " wait at a barrier and " + std::to_string(waiting) + " in a warp operation");
  }
  const auto waited = [](const auto& fiber) { return fiber->previous_ended; };
  if (overlapped && std::none_of(fibers.begin(), fibers.begin() + threads, waited)) {
    Complain(Fault::kRace, nullptr,
             "a block of an overlapped kernel ends and has not waited for the previous one");
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
  warp().ready &= ~(1u << lane());
  Block();
  std::abort();  // Nobody resumes a finished fiber.
}

void Run(Index3 grid, Index3 block, size_t shared_bytes, const std::function<void()>& kernel,
         bool overlapped) {
  const int threads = static_cast<int>(block.x * block.y * block.z);
  if (threads % kWarp != 0 || threads > kMaxThreads || shared_bytes > kMaxSharedBytes) {
    Complain(Fault::kDivergence, nullptr,
             "block of " + std::to_string(threads) + " threads, " + std::to_string(shared_bytes) +
                 " bytes of shared memory");
    return;
  }
  const int64_t blocks = static_cast<int64_t>(grid.x) * grid.y * grid.z;
  std::atomic<int64_t> next = 0;
  const auto work = [&] {
    // Kept from launch to launch: stacks are expensive to map.
    thread_local Worker own;
    own.grid = grid;
    own.block_size = block;
    own.threads = threads;
    own.shared_bytes = shared_bytes;
    own.kernel = &kernel;
    own.overlapped = overlapped;
    own.settings = settings();
    worker = &own;
    for (int64_t i; (i = next++) < blocks;) {
      own.random.seed(own.settings.seed + i);
      own.RunBlock({static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                    static_cast<unsigned>(i / grid.x / grid.y)});
    }
    worker = nullptr;
  };
  std::vector<std::thread> helpers;
  const int wanted = static_cast<int>(std::min<int64_t>(settings().os_threads, blocks));
  for (int i = 1; i < wanted; ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

const Index3& ThreadIndex() { return worker->current->index; }
const Index3& BlockIndex() { return worker->block; }
const Index3& BlockSize() { return worker->block_size; }
const Index3& GridSize() { return worker->grid; }
unsigned char* BlockSharedMemory() { return worker->shared; }

void WaitForPreviousKernel() { worker->current->previous_ended = true; }

void BlockBarrier() {
  Worker& w = *worker;
  if (++w.at_barrier < w.threads) {
    w.warp().ready &= ~(1u << w.lane());
    w.Block();
    return;
  }
  w.at_barrier = 0;
  ++w.epoch;
  bool ended = false;
  for (int t = 0; t < w.threads; ++t) ended |= w.fibers[t]->previous_ended;
  for (int t = 0; t < w.threads; ++t) w.fibers[t]->previous_ended = ended;
  for (Warp& warp : w.warps) warp.ready = ~0u;
  // Not always the last to arrive goes first.
  w.Block();
}

}  // namespace repvgg::emulator
