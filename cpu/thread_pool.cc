#include "cpu/thread_pool.h"

#include <utility>

namespace repvgg {
namespace {

// A network uses the pool dozens of times per image, often for less time than waking a thread takes. Waiting
// threads therefore spin for some tens of microseconds, then yield their core for some hundreds, before they
// sleep.
template <class Condition>
bool SpinUntil(const Condition& condition) {
  for (int i = 0; i < 1500; ++i) {
    if (condition()) return true;
    if (i >= 1000) {
      std::this_thread::yield();
      continue;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }
  return condition();
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { Work(i); });
  } catch (...) {
    Stop();  // The system refused a thread: join those already started.
    throw;
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(size_t count, const std::function<void(const Share&)>& body) {
  if (count == 0) return;
  if (workers_.empty() || count == 1) {
    body({0, count, 0});
    return;
  }
  body_ = &body;
  count_ = count;
  running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);
    generation_.fetch_add(1, std::memory_order_release);
  }
  start_.notify_all();
  RunShare(0);
  const auto finished = [this] { return running_.load(std::memory_order_acquire) == 0; };
  if (!SpinUntil(finished)) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, finished);
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::Work(int index) {
  size_t seen = 0;
  const auto called = [&] {
    return stopping_.load(std::memory_order_relaxed) || generation_.load(std::memory_order_acquire) != seen;
  };
  for (;;) {
    if (!SpinUntil(called)) {
      std::unique_lock lock(mutex_);
      start_.wait(lock, called);
    }
    if (stopping_.load(std::memory_order_relaxed)) return;
    seen = generation_.load(std::memory_order_acquire);
    RunShare(index);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      std::lock_guard lock(mutex_);  // The caller checks under the lock before it sleeps.
      done_.notify_one();
    }
  }
}

void ThreadPool::RunShare(int index) {
  const size_t threads = workers_.size() + 1;
  const size_t begin = count_ * index / threads;
  const size_t end = count_ * (index + 1) / threads;
  if (begin >= end) return;
  try {
    (*body_)({begin, end, index});
  } catch (...) {
    // Other threads may still be using the caller's data: rethrown once they are done.
    std::lock_guard lock(mutex_);
    error_ = std::current_exception();
  }
}

}  // namespace repvgg
