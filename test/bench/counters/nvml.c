// A libnvidia-ml.so.1 of one GPU, whose energy grows by 1500 millijoules whenever it is asked for. NVML_ERROR is what it returns then.
#include <stdlib.h>
#include <string.h>

static unsigned long long millijoules = 0;

int nvmlInit_v2(void) { return 0; }

int nvmlDeviceGetHandleByPciBusId_v2(const char* bus, void** device) {
  *device = &millijoules;
  return strcmp(bus, "0000:3b:00.0") == 0 ? 0 : 2;
}

int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* value) {
  *value = *(unsigned long long*)device += 1500;
  const char* error = getenv("NVML_ERROR");
  return error ? atoi(error) : 0;
}
