#include "binding/executor.h"

namespace repvgg {

Napi::Error ToJavaScript(Napi::Env env, const CodedError& error) {
  Napi::Error thrown = Napi::Error::New(env, error.message);
  thrown.Set("code", Napi::String::New(env, error.code));
  return thrown;
}

Executor::Executor(Napi::Env env, const char* name, size_t most_threads) : most_threads_(most_threads) {
  settle_ = decltype(settle_)::New(env, name, 0, 1, this);
  settle_.Unref(env);
  // Cleanup hooks run in reverse order: this one before that of settle_, which must still accept jobs.
  env.AddCleanupHook([this] { Stop(); });
}

Napi::Promise Executor::Post(Napi::Env env, std::unique_ptr<Job> job) {
  const Napi::Promise promise = job->deferred.Promise();
  if (threads_.size() < most_threads_ && threads_.size() <= pending_) {
    try {
      threads_.emplace_back([this] { Loop(); });
    } catch (const std::exception& error) {
      if (threads_.empty()) {
        job->deferred.Reject(ToJavaScript(env, DescribeError(error)).Value());
        return promise;
      }
    }
  }
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  if (pending_++ == 0) settle_.Ref(env);  // It settles on this thread, so not before.
  wake_.notify_one();
  return promise;
}

void Executor::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  queue_.clear();
  settle_.Release();
}

void Executor::Loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ ? in_flight_ == 0 : !queue_.empty(); });
    if (stopping_) return;
    std::unique_ptr<Job> job = std::move(queue_.front());
    queue_.pop_front();
    ++in_flight_;
    lock.unlock();
    Start(std::move(job));
    lock.lock();
  }
}

// The job may be settled and destroyed before `start` returns, so the function is moved out of it first.
void Executor::Start(std::unique_ptr<Job> job) {
  Job* const started = job.release();
  const std::function<void(const Done&)> start = std::move(started->start);
  try {
    start([this, started](const std::exception_ptr& error) { Finish(started, error); });
  } catch (const std::exception&) {
    Finish(started, std::current_exception());
  }
}

void Executor::Finish(Job* job, const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::exception& thrown) {
    job->error = DescribeError(thrown);
  }
  settle_.NonBlockingCall(job);
  const std::lock_guard lock(mutex_);
  --in_flight_;
  if (stopping_) wake_.notify_all();
}

void Executor::Settle(Napi::Env env, Napi::Function, Executor* executor, Job* settled) {
  const std::unique_ptr<Job> job(settled);
  if (env == nullptr) return;  // The environment has been torn down, and with it the executor.
  if (--executor->pending_ == 0) executor->settle_.Unref(env);
  Napi::HandleScope scope(env);
  if (!job->error.code.empty()) return job->deferred.Reject(ToJavaScript(env, job->error).Value());
  try {
    job->deferred.Resolve(job->result ? WithCodes(env, [&] { return job->result(env, *job); })
                                      : env.Undefined());
  } catch (const Napi::Error& error) {  // For example, the result could not be allocated.
    job->deferred.Reject(error.Value());
  }
}

Executor& DeviceExecutors::For(Napi::Env env, const std::string& device) {
  std::unique_ptr<Executor>& executor = executors_[device];
  if (executor == nullptr) executor = std::make_unique<Executor>(env, "repvgg.compute", 1);
  return *executor;
}

}  // namespace repvgg
