// A worker thread that executes tasks in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace repvgg::cuda {

class SerialThread {
 public:
  SerialThread() : thread_([this] { Loop(); }) {}
  // Returns once all tasks are done.
  ~SerialThread() {
    Post(nullptr);
    thread_.join();
  }

  // `work` must not throw.
  void Post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
    }
    wake_.notify_one();
  }

 private:
  void Loop() {
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !queue_.empty(); });
      const std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      if (work == nullptr) return;
      work();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::thread thread_;  // Last, so that it starts after the others exist.
};

}  // namespace repvgg::cuda
