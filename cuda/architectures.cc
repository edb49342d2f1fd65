#include "cuda/architectures.h"

#include <sstream>

namespace repvgg {

// Machine code runs on its own major version, from its minor version on; with an "a", on exactly its own
// version. PTX runs on all versions that are not older. An entry with neither suffix is both.
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
