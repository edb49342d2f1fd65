// What the addon on the emulator (the target emulated_addon) has more: two GPUs, of which a process
// can be told what goes wrong by REPVGG_EMULATED_FAULT. Each new value counts from the next use of a GPU on:
//   lost:D:N     device D fails at its launch number N, counted from 0, and does not recover
//   refused:N    launch number N is refused
//   memory:N     each device has N bytes
//   taken        another process has the devices for itself
// and an empty one ends what was before. A fault of a kernel (emulator.h) ends the process.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "test/emulator/emulator.h"
#include "test/emulator/runtime_emulated.h"

namespace repvgg::emulator {
namespace {

void Apply(const std::string& fault) {
  RuntimeSettings& runtime = runtime_settings();
  runtime.memory_limit = 0;
  runtime.failing_launch = runtime.refused_launch = -1;
  runtime.taken = fault == "taken";
  const char* const text = fault.c_str();
  const bool known = fault.empty() || runtime.taken ||
                     std::sscanf(text, "lost:%d:%d", &runtime.failing_device, &runtime.failing_launch) == 2 ||
                     std::sscanf(text, "refused:%d", &runtime.refused_launch) == 1 ||
                     std::sscanf(text, "memory:%zu", &runtime.memory_limit) == 1;
  if (known) return;
  std::fprintf(stderr, "REPVGG_EMULATED_FAULT: \"%s\" is none of those in test/emulator/addon.cc\n", text);
  std::abort();
}

void Refresh() {
  static std::string last;
  const char* const value = std::getenv("REPVGG_EMULATED_FAULT");
  const std::string fault = value == nullptr ? "" : value;
  if (fault != last) Apply(last = fault);
}

const bool set_up = [] {
  settings().abort_on_fault = true;
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  runtime_settings().devices = visible != nullptr && *visible == '\0' ? 0 : 2;
  if (const char* const capability = std::getenv("REPVGG_EMULATED_CAPABILITY")) {
    runtime_settings().capability = std::atoi(capability);
  }
  runtime_settings().refresh = Refresh;
  return true;
}();

}  // namespace
}  // namespace repvgg::emulator
