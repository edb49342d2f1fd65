#include "binding/instructions.h"

#ifdef __linux__
#include <dirent.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>
#endif

namespace repvgg {

#ifdef __linux__
namespace {

// One counter for each thread that the process has, and those that they start: a counter of the whole process
// would only count threads that are yet to be started.
class InstructionCounters {
 public:
  InstructionCounters() = default;
  InstructionCounters(const InstructionCounters&) = delete;
  InstructionCounters& operator=(const InstructionCounters&) = delete;
  ~InstructionCounters() { Stop(); }

  // False where the processor has no such counter, or the system does not let us.
  bool Open() {
    DIR* threads = opendir("/proc/self/task");
    if (threads == nullptr) return false;
    bool opened = true;
    while (const dirent* entry = opened ? readdir(threads) : nullptr) {
      if (entry->d_name[0] != '.') opened = OpenFor(std::atoi(entry->d_name));
    }
    closedir(threads);
    return opened && !counters_.empty();
  }

  // Since Open(). Later calls return 0.
  double Stop() {
    double instructions = 0;
    for (const int counter : counters_) {
      struct {
        uint64_t value, enabled, running;
      } count{};
      if (read(counter, &count, sizeof count) == sizeof count && count.running > 0) {
        // Where there are more counters than the processor has, they take turns.
        instructions += static_cast<double>(count.value) * static_cast<double>(count.enabled) /
                        static_cast<double>(count.running);
      }
      close(counter);
    }
    counters_.clear();
    return instructions;
  }

 private:
  bool OpenFor(pid_t thread) {
    perf_event_attr event{};
    event.size = sizeof event;
    event.type = PERF_TYPE_HARDWARE;
    event.config = PERF_COUNT_HW_INSTRUCTIONS;
    event.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    event.inherit = 1;
    event.exclude_kernel = 1;
    event.exclude_hv = 1;
    const long counter = syscall(SYS_perf_event_open, &event, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (counter < 0) return errno == ESRCH;  // A thread that has ended meanwhile.
    counters_.push_back(static_cast<int>(counter));
    return true;
  }

  std::vector<int> counters_;
};

}  // namespace
#endif

Napi::Value CountInstructions(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
#ifdef __linux__
  const auto counters = std::make_shared<InstructionCounters>();
  if (counters->Open()) {
    return Napi::Function::New(env, [counters](const Napi::CallbackInfo& call) -> Napi::Value {
      return Napi::Number::New(call.Env(), counters->Stop());
    });
  }
#endif
  return env.Null();
}

}  // namespace repvgg
