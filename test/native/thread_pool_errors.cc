// Whatever thread of a pool throws, what it threw comes to the caller, and not before all are done. Says what
// is wrong.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <new>
#include <thread>

#include "cpu/thread_pool.h"

int main() {
  constexpr int kThreads = 4;
  repvgg::ThreadPool pool(kThreads);
  for (int run = 0; run < 1000; ++run) {
    const int thrower = run % (kThreads + 1);  // The last is none.
    std::atomic<int> done = 0;
    bool caught = false;
    try {
      pool.Run(kThreads, [&](const repvgg::ThreadPool::Share& share) {
        if (share.thread == thrower) throw std::bad_alloc();
        std::this_thread::sleep_for(std::chrono::microseconds(run % 50));
        ++done;
      });
    } catch (const std::bad_alloc&) {
      caught = true;
    }
    const bool throws = thrower < kThreads;
    if (caught != throws) std::printf("run %d: thread %d threw, caught: %d\n", run, thrower, caught);
    if (done != kThreads - throws) std::printf("run %d: only %d were done\n", run, done.load());
  }
}
