// Starts jobs in the order they are posted, on threads of its own, and settles their promises on the
// JavaScript thread. Neither the event loop nor the libuv pool (which file and DNS calls of the whole process
// share) is ever held.
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

#include "engine/backend.h"

namespace repvgg {

// What JavaScript is told of an exception; no error while `code` is empty.
struct CodedError {
  std::string code;
  std::string message;
};

// For an exception that is not an Error of the engine's: out of memory, or of a resource such as threads.
CodedError DescribeError(const std::exception& error);
Napi::Error ToJavaScript(Napi::Env env, const CodedError& error);

class Executor {
 public:
  // Created, settled and destroyed on the JavaScript thread; only `start` runs elsewhere.
  struct Job {
    explicit Job(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}

    // Keeps `value` (an argument whose memory `start` reads, or an array it writes) from being collected.
    void Keep(const Napi::Object& value) { kept.push_back(Napi::Persistent(value)); }

    Napi::Promise::Deferred deferred;
    std::vector<Napi::ObjectReference> kept;
    // Calls its argument once, at once or later and on any thread, or throws. The next job is started as soon
    // as it returns.
    std::function<void(const Done&)> start;
    std::function<Napi::Value(Napi::Env, Job&)> result;  // Optional: undefined without it.
    CodedError error;

    // For a job that is over when `work` returns.
    void SetWork(std::function<void()> work) {
      start = [work = std::move(work)](const Done& done) {
        work();
        done(nullptr);
      };
    }
  };

  // Threads start when jobs need them. With more than one, jobs overlap and settle in any order.
  // It stops in a cleanup hook of the environment, which it must outlive.
  Executor(Napi::Env env, const char* name, size_t most_threads);

  Napi::Promise Post(Napi::Env env, std::unique_ptr<Job> job);

  // True once the environment is going away: long work should look at it and end.
  bool stopping() const { return stopping_; }

 private:
  void Loop();
  void Start(std::unique_ptr<Job> job);
  void Finish(Job* job, const std::exception_ptr& error);
  static void Settle(Napi::Env env, Napi::Function, Executor* executor, Job* job);
  // Waits for the jobs in flight, drops the others: a thread must not outlive its environment.
  void Stop();

  Napi::TypedThreadSafeFunction<Executor, Job, &Executor::Settle> settle_;
  std::vector<std::thread> threads_;  // JavaScript thread only.
  const size_t most_threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  size_t in_flight_ = 0;  // Started and not finished.
  std::atomic<bool> stopping_ = false;
  size_t pending_ = 0;  // JavaScript thread only. The process stays alive exactly while this is not 0.
};

// An executor for each device, made when it is first needed, so that none waits for another.
class DeviceExecutors {
 public:
  Executor& For(Napi::Env env, const std::string& device);

 private:
  std::map<std::string, std::unique_ptr<Executor>> executors_;
};

}  // namespace repvgg
