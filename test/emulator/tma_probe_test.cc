#include "test/emulator/tma_probe.h"

#include "test/emulator/runtime_emulated.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

TEST("emulator: TMA's im2col mode, and its stores, as convolutions use them") {
  cudaSetDevice(0);  // The one that a test of failures may have lost.
  for (const TmaProbe& probe : TmaProbes()) {
    const DeviceArray<uint16_t> in(TmaProbeMap(probe));
    const DeviceArray<uint16_t> out(probe.Values());
    if (LaunchTmaProbe(probe, in.data(), out.data()) != cudaSuccess) Fail("not launched");
    const std::string wrong = CheckTmaProbe(probe, {out.data(), out.data() + out.size()});
    if (!wrong.empty()) Fail(wrong);
  }
}

}  // namespace
}  // namespace repvgg::emulator
