// No memory checks on a GPU; compute-sanitizer provides them where it is installed.
#include "test/emulator/emulator.h"

namespace repvgg::emulator {

std::vector<Report> TakeReports() { return {}; }

Settings& settings() {
  static Settings value;
  return value;
}

}  // namespace repvgg::emulator
