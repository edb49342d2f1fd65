#include "binding/instructions.h"

#ifdef __linux__
#include <dirent.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>
#endif

namespace repvgg {

#ifdef __linux__
namespace {

std::string WhyNot(int error) {
  if (error == ENOENT || error == ENODEV || error == EOPNOTSUPP) {
    return "this processor, or the virtual machine, has no counter of instructions";
  }
  const std::string reason = std::string("perf_event_open failed (") + std::strerror(error) + ")";
  if (error != EACCES && error != EPERM) return reason;
  constexpr int kOwnProcesses = 2;
  int level = 0;
  std::ifstream("/proc/sys/kernel/perf_event_paranoid") >> level;
  if (level <= kOwnProcesses) return reason + ": the container does not allow it";
  return reason + ": kernel.perf_event_paranoid is " + std::to_string(level) + " and may be at most " +
         std::to_string(kOwnProcesses);
}

// One counter per existing thread, inherited by the threads it starts: a counter opened for the process would
// only include threads started later.
class InstructionCounters {
 public:
  InstructionCounters() = default;
  InstructionCounters(const InstructionCounters&) = delete;
  InstructionCounters& operator=(const InstructionCounters&) = delete;
  ~InstructionCounters() { Stop(); }

  // Returns 0, or the errno of the first failure.
  int Open() {
    DIR* threads = opendir("/proc/self/task");
    if (threads == nullptr) return errno;
    int error = 0;
    while (const dirent* entry = error == 0 ? readdir(threads) : nullptr) {
      if (entry->d_name[0] != '.') error = OpenFor(std::atoi(entry->d_name));
    }
    closedir(threads);
    return error;
  }

  // Since Open(). Later calls return 0.
  double Stop() {
    double instructions = 0;
    for (const int counter : counters_) {
      struct {
        uint64_t value, enabled, running;
      } count{};
      if (read(counter, &count, sizeof count) == sizeof count && count.running > 0) {
        // Scaled, since the kernel multiplexes counters where the processor has too few.
        instructions += static_cast<double>(count.value) * static_cast<double>(count.enabled) /
                        static_cast<double>(count.running);
      }
      close(counter);
    }
    counters_.clear();
    return instructions;
  }

 private:
  int OpenFor(pid_t thread) {
    perf_event_attr event{};
    event.size = sizeof event;
    event.type = PERF_TYPE_HARDWARE;
    event.config = PERF_COUNT_HW_INSTRUCTIONS;
    event.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    event.inherit = 1;
    event.exclude_kernel = 1;  // Counting the kernel needs privileges.
    event.exclude_hv = 1;
    const long counter = syscall(SYS_perf_event_open, &event, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (counter < 0) return errno == ESRCH ? 0 : errno;  // ESRCH: the thread has ended meanwhile.
    counters_.push_back(static_cast<int>(counter));
    return 0;
  }

  std::vector<int> counters_;
};

}  // namespace
#endif

Napi::Value CountInstructions(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
#ifdef __linux__
  const auto counters = std::make_shared<InstructionCounters>();
  const int error = counters->Open();
  if (error != 0) return Napi::String::New(env, WhyNot(error));
  return Napi::Function::New(env, [counters](const Napi::CallbackInfo& call) -> Napi::Value {
    return Napi::Number::New(call.Env(), counters->Stop());
  });
#else
  return Napi::String::New(env, "only Linux counts instructions");
#endif
}

}  // namespace repvgg
