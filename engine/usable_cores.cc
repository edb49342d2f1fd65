#include "engine/usable_cores.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace repvgg {
namespace {

// The quota of one cgroup in CPUs; infinity for none. `folder` is that of either version.
double QuotaOf(const std::string& folder) {
  double quota = 0, period = 0;
  // Reading fails for "max", which is no limit; version 1 says -1.
  if (std::ifstream file(folder + "/cpu.max"); file >> quota >> period && quota > 0 && period > 0) {
    return quota / period;
  }
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
  std::ifstream period_file(folder + "/cpu.cfs_period_us");
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) return quota / period;
  return INFINITY;
}

// The least quota of a cgroup and those around it. In a container the path may be the host's, of which only
// the root is mounted: what is not there has no quota.
double LeastQuota(const std::string& mount, std::string path) {
  double least = QuotaOf(mount);
  for (; path.size() > 1; path.resize(path.rfind('/'))) least = std::min(least, QuotaOf(mount + path));
  return least;
}

// Whether a comma-separated list has the controller "cpu".
bool HasCpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

}  // namespace

// By the lines of /proc/self/cgroup, "number:controllers:path"; cgroups(7).
double CpuQuota(const std::string& root) {
  const std::string mounts = root + "/sys/fs/cgroup";
  double least = INFINITY;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      least = std::min(least, LeastQuota(mounts, path));
    } else if (HasCpu(controllers)) {
      least = std::min(least, LeastQuota(mounts + "/cpu", path));
    }
  }
  return least;
}

int UsableCores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) cores = CPU_COUNT(&allowed);
#endif
  const double quota = CpuQuota("");
  if (quota < cores) cores = static_cast<int>(std::ceil(quota));
  return std::max(cores, 1);
}

}  // namespace repvgg
