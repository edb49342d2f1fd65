#include "test/emulator/descriptor_probe.h"

#include "test/emulator/runtime_emulated.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

// The emulator takes the address alone to say how bytes are exchanged, so that any base offset does.
TEST("emulator: wgmma reads rows from any one on") {
  cudaSetDevice(0);  // The one that a test of failures may have lost.
  const std::vector<DescriptorProbe> probes = DescriptorProbes();
  const DeviceArray<DescriptorProbe> device_probes(probes);
  const DeviceArray<float> out(probes.size() * kDescriptorProbeRows * 2);
  const int count = static_cast<int>(probes.size());
  if (LaunchDescriptorProbes(device_probes.data(), count, out.data()) != cudaSuccess) Fail("not launched");
  const std::string right = DescribeDescriptorProbes({out.data(), out.data() + out.size()});
  std::string expected;
  for (const DescriptorProbe& probe : probes) {
    if (probe.base_offset != 0 || probe.step != 0) continue;
    if (probe.shift == 0) expected += (expected.empty() ? "" : "; ") + std::to_string(probe.pitch) + ':';
    expected += ' ' + std::to_string(probe.shift) + "=01234567";
  }
  if (right != expected) Fail(right);
}

}  // namespace
}  // namespace repvgg::emulator
