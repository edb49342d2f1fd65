#include "cuda/architectures.h"

#include <algorithm>
#include <sstream>

namespace repvgg {
namespace {

// Kernels choose tensor core instructions when they are compiled, and are chosen by the device's version:
// mma.sync came with 7.5; bf16, tf32 and cp.async with 8.0.
int Generation(int architecture) { return architecture < 75 ? 0 : architecture < 80 ? 1 : 2; }

// The version that the code which the driver takes for a device was compiled for; 0 if there is none. Machine
// code runs on its own major version, from its minor version on; with an "a", on exactly its own version.
// Where there is none, the newest PTX that is not newer than the device is compiled. An entry with neither
// suffix is both.
int CodeFor(const std::string& architectures, int architecture) {
  int machine_code = 0, ptx = 0;
  std::istringstream list(architectures);
  for (std::string entry; std::getline(list, entry, ',');) {
    size_t end = 0;
    const int compiled = std::stoi(entry, &end);
    if (compiled > architecture || (entry[end] == 'a' && compiled != architecture)) continue;
    if (!entry.ends_with("-real")) ptx = std::max(ptx, compiled);
    if (!entry.ends_with("-virtual") && compiled / 10 == architecture / 10) {
      machine_code = std::max(machine_code, compiled);
    }
  }
  return machine_code > 0 ? machine_code : ptx;
}

}  // namespace

bool HasKernels(const std::string& architectures, int architecture) {
  const int code = CodeFor(architectures, architecture);
  return code > 0 && Generation(code) == Generation(architecture);
}

}  // namespace repvgg
