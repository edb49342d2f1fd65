// A fixed set of threads for parallel loops. Work is split statically, so results cannot depend on timing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace repvgg {

constexpr size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

class ThreadPool {
 public:
  // The caller of Run is one of the `threads`, so threads - 1 are started.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // A share of a loop: indices begin to end - 1, run by thread `thread` of the pool.
  struct Share {
    size_t begin;
    size_t end;
    int thread;
  };

  // Splits 0..count-1 into one contiguous share per thread, calls body for each and returns when all are
  // done, or throws what one of them threw. One caller at a time.
  void Run(size_t count, const std::function<void(const Share& share)>& body);

 private:
  void Stop();
  void Work(int index);
  void RunShare(int index);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  // Of the current generation.
  const std::function<void(const Share&)>* body_ = nullptr;
  size_t count_ = 0;
  std::exception_ptr error_;            // Written under the mutex.
  std::atomic<size_t> generation_ = 0;  // Counts calls of Run. Modified under the mutex.
  std::atomic<int> running_ = 0;        // Workers that have not finished it.
  std::atomic<bool> stopping_ = false;
};

}  // namespace repvgg
