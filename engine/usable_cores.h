#pragma once

#include <string>

namespace repvgg {

// The least CPU quota, in cores, of this process's cgroup (version 2 or 1) and of those around it; infinity
// without one. Read below `root`, where tests have other files.
double CpuQuota(const std::string& root);

// The number of cores this process may use: its affinity mask, lowered by its quota, rounded up.
int UsableCores();

}  // namespace repvgg
