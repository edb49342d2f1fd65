#include "cuda/counters.h"

#include <dlfcn.h>

#include "cuda/runtime.h"

namespace repvgg::cuda {
namespace {

// The functions in use, as declared by the NVML API Reference: all return 0 on success.
struct Nvml {
  using Device = void*;
  int (*initialize)() = nullptr;
  int (*find)(const char* pci_bus_id, Device*) = nullptr;
  int (*energy)(Device, unsigned long long* millijoules) = nullptr;

  Nvml() {
    void* const library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    Get(library, "nvmlInit_v2", initialize);
    Get(library, "nvmlDeviceGetHandleByPciBusId_v2", find);
    Get(library, "nvmlDeviceGetTotalEnergyConsumption", energy);
    usable = initialize != nullptr && find != nullptr && energy != nullptr && initialize() == 0;
  }

  bool usable = false;

 private:
  template <typename Function>
  static void Get(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
  }
};

}  // namespace

CudaCounters ReadCounters(int index) {
  static const Nvml nvml;
  CudaCounters counters;
  size_t free = 0, total = 0;
  if (cudaSetDevice(index) == cudaSuccess && cudaMemGetInfo(&free, &total) == cudaSuccess) {
    counters.memory_used = total - free;
  }
  char bus[32] = {};
  Nvml::Device device = nullptr;
  unsigned long long millijoules = 0;
  if (nvml.usable && cudaDeviceGetPCIBusId(bus, sizeof bus, index) == cudaSuccess &&
      nvml.find(bus, &device) == 0 && nvml.energy(device, &millijoules) == 0) {
    counters.millijoules = millijoules;
  }
  cudaGetLastError();  // A missing device is not an error here.
  return counters;
}

}  // namespace repvgg::cuda
