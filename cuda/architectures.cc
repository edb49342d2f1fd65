#include "cuda/architectures.h"

#include <sstream>

namespace repvgg {

// Machine code runs on its own major version from its minor version on, and with an "a" on exactly its own;
// PTX on all that are not older. An entry that names neither is both.
bool HasKernels(const std::string& architectures, int architecture) {
  std::istringstream list(architectures);
  for (std::string entry; std::getline(list, entry, ',');) {
    size_t end = 0;
    const int compiled = std::stoi(entry, &end);
    if (entry[end] == 'a') {
      if (compiled == architecture) return true;
      continue;
    }
    if (!entry.ends_with("-real") && compiled <= architecture) return true;
    const bool same_major = compiled / 10 == architecture / 10;
    if (!entry.ends_with("-virtual") && same_major && compiled <= architecture) return true;
  }
  return false;
}

}  // namespace repvgg
