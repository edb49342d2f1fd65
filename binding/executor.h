// Runs jobs on a thread of its own and settles their promises on the JavaScript thread. Neither the event
// loop nor the libuv pool (which file and DNS calls of the whole process share) is ever held.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

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
  // Created, settled and destroyed on the JavaScript thread; only `work` runs elsewhere.
  struct Job {
    explicit Job(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}

    // Keeps `value` (an argument whose memory `work` reads, or an array it writes) from being collected.
    void Keep(const Napi::Object& value) { kept.push_back(Napi::Persistent(value)); }

    Napi::Promise::Deferred deferred;
    std::vector<Napi::ObjectReference> kept;
    std::function<void()> work;                          // May throw.
    std::function<Napi::Value(Napi::Env, Job&)> result;  // Optional: undefined without it.
    CodedError error;
  };

  Executor(Napi::Env env, const char* name);
  ~Executor() { Stop(); }

  Napi::Promise Post(Napi::Env env, std::unique_ptr<Job> job);

  // True once the environment is going away: long work should look at it and end.
  bool stopping() const { return stopping_; }

  // Waits for the job in flight, drops the others. Called from the environment's cleanup hook: a thread must
  // not outlive its environment.
  void Stop();

 private:
  void Loop();
  static void RunJob(Job& job);
  static void Settle(Napi::Env env, Job& job);

  Napi::ThreadSafeFunction settle_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::atomic<bool> stopping_ = false;
  size_t pending_ = 0;  // JavaScript thread only. The process stays alive exactly while this is not 0.
};

}  // namespace repvgg
