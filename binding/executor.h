// Starts jobs in the order in which they are posted, on its own threads, and settles their promises on the
// JavaScript thread. Blocks neither the event loop nor the libuv thread pool, which the whole process shares
// for file system and DNS calls.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "binding/coded_error.h"
#include "engine/backend.h"

namespace repvgg {

Napi::Error ToJavaScript(Napi::Env env, const CodedError& error);

// Runs `work` on the JavaScript thread, where exceptions of C++ become errors with codes.
template <class Work>
auto WithCodes(Napi::Env env, const Work& work) {
  try {
    return work();
  } catch (const Napi::Error&) {  // JavaScript's own, which is also a std::exception.
    throw;
  } catch (const std::exception& error) {
    throw ToJavaScript(env, DescribeError(error));
  }
}

class Executor {
 public:
  // Created, settled and destroyed on the JavaScript thread; only `start` runs on another.
  struct Job {
    explicit Job(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}

    // Protects `value`, whose memory `start` reads or writes, from garbage collection.
    void Keep(const Napi::Object& value) { kept.push_back(Napi::Persistent(value)); }

    Napi::Promise::Deferred deferred;
    std::vector<Napi::ObjectReference> kept;
    // Either throws or calls its argument exactly once, possibly after it has returned and on any thread. The
    // thread starts its next job as soon as this returns.
    std::function<void(const Done&)> start;
    std::function<Napi::Value(Napi::Env, Job&)>
        result;  // Optional; without it, the promise resolves to undefined.
    CodedError error;

    // For a job that is complete when `work` returns.
    void SetWork(std::function<void()> work) {
      start = [work = std::move(work)](const Done& done) {
        work();
        done(nullptr);
      };
    }
  };

  // Threads are started on demand. With more than one, jobs overlap and settle in any order. The executor
  // stops in a cleanup hook of the environment and must not be destroyed before.
  Executor(Napi::Env env, const char* name, size_t most_threads);

  Napi::Promise Post(Napi::Env env, std::unique_ptr<Job> job);

  // True once the environment is being torn down. Long-running jobs should poll it.
  bool stopping() const { return stopping_; }

 private:
  void Loop();
  void Start(std::unique_ptr<Job> job);
  void Finish(Job* job, const std::exception_ptr& error);
  static void Settle(Napi::Env env, Napi::Function, Executor* executor, Job* job);
  // Waits for the jobs in flight and drops those in the queue: no thread may outlive its environment.
  void Stop();

  Napi::TypedThreadSafeFunction<Executor, Job, &Executor::Settle> settle_;
  std::vector<std::thread> threads_;  // JavaScript thread only.
  const size_t most_threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  size_t in_flight_ = 0;  // Started but not finished.
  std::atomic<bool> stopping_ = false;
  size_t pending_ = 0;  // JavaScript thread only. Keeps the event loop alive while not 0.
};

// One executor per device, created on first use, so that devices do not wait for each other.
class DeviceExecutors {
 public:
  Executor& For(Napi::Env env, const std::string& device);

 private:
  std::map<std::string, std::unique_ptr<Executor>> executors_;
};

}  // namespace repvgg
