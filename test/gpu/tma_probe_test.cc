// Compares TMA and wgmma, as the kernels use them, with the emulator's model of them; failures name the pixel
// that was read.
#include "test/emulator/tma_probe.h"

#include "cuda/gemm_sm90a.h"
#include "test/emulator/descriptor_probe.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

// The probes of one block, or those of a cluster.
void RunTmaProbes(int blocks) {
  for (const emulator::TmaProbe& probe : emulator::TmaProbes()) {
    if (probe.blocks != blocks) continue;
    const size_t count = probe.Values();
    const cuda::DeviceMemory in = UploadVector(TmaProbeMap(probe)), out = cuda::AllocateDevice(2 * count);
    cuda::Check(cudaMemset(out.get(), 0xff, 2 * count), "poisoning");
    cuda::Check(
        LaunchTmaProbe(probe, static_cast<const uint16_t*>(in.get()), static_cast<uint16_t*>(out.get())),
        "launching");
    cuda::Check(cudaDeviceSynchronize(), "running a probe");
    const std::string wrong = CheckTmaProbe(probe, Download<uint16_t>(out, count));
    if (!wrong.empty()) return emulator::Fail(wrong);
  }
}

TEST("wrappers: TMA's im2col mode, and its stores, as convolutions use them") {
  if (Architecture() == 90 && cuda::HasSm90aKernels() && Try("sm90a")) RunTmaProbes(1);
}
TEST("wrappers: TMA's im2col mode for two blocks at once") {
  if (Architecture() == 90 && cuda::HasSm90aKernels() && Try("sm90a multicast")) RunTmaProbes(2);
}

// Notes which descriptors that start at arbitrary rows work, for a possible kernel; the existing kernels use
// none of them.
TEST("wrappers: what wgmma reads from any row on") {
  if (Architecture() != 90 || !cuda::HasSm90aKernels()) return;
  const std::vector<emulator::DescriptorProbe> probes = emulator::DescriptorProbes();
  const size_t count = probes.size() * emulator::kDescriptorProbeRows * 2;
  const cuda::DeviceMemory device_probes = UploadVector(probes),
                           out = cuda::AllocateDevice(count * sizeof(float));
  cuda::Check(LaunchDescriptorProbes(static_cast<const emulator::DescriptorProbe*>(device_probes.get()),
                                     static_cast<int>(probes.size()), static_cast<float*>(out.get())),
              "launching");
  cuda::Check(cudaDeviceSynchronize(), "running the probes");
  emulator::Note(emulator::DescribeDescriptorProbes(Download<float>(out, count)));
}

}  // namespace
}  // namespace repvgg::gpu
