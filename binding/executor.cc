#include "binding/executor.h"

#include <new>

#include "engine/error.h"

namespace repvgg {

Executor::Executor(Napi::Env env, const char* name) {
  settle_ = Napi::ThreadSafeFunction::New(env, Napi::Function(), name, 0, 1);
  settle_.Unref(env);
  thread_ = std::thread([this] { Loop(); });
}

Napi::Promise Executor::Post(Napi::Env env, std::unique_ptr<Job> job) {
  const Napi::Promise promise = job->deferred.Promise();
  if (pending_++ == 0) settle_.Ref(env);
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return promise;
}

void Executor::Stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  queue_.clear();
  settle_.Release();
}

void Executor::Loop() {
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    RunJob(*job);
    job->work = nullptr;
    // When the call fails the environment is closing. The job is then leaked: its references may die only on
    // the JavaScript thread.
    settle_.NonBlockingCall(job.release(), [this](Napi::Env env, Napi::Function, Job* settled) {
      const std::unique_ptr<Job> owner(settled);
      if (env == nullptr) return;
      Settle(env, *owner);
      if (--pending_ == 0) settle_.Unref(env);
    });
  }
}

void Executor::RunJob(Job& job) {
  try {
    job.work();
  } catch (const Error& error) {
    job.error_code = error.code();
    job.error_message = error.what();
  } catch (const std::bad_alloc&) {
    job.error_code = "ERR_OUT_OF_MEMORY";
    job.error_message = "Not enough memory.";
  }
}

void Executor::Settle(Napi::Env env, Job& job) {
  Napi::HandleScope scope(env);
  if (job.error_code.empty()) {
    job.deferred.Resolve(job.result ? job.result(env, job) : env.Undefined());
    return;
  }
  Napi::Error error = Napi::Error::New(env, job.error_message);
  error.Set("code", Napi::String::New(env, job.error_code));
  job.deferred.Reject(error.Value());
}

}  // namespace repvgg
