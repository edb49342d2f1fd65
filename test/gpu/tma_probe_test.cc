// TMA's im2col mode on the GPU against what the emulator takes it to do; failures name the pixel that came.
#include "test/emulator/tma_probe.h"

#include "cuda/gemm_sm90a.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

TEST("wrappers: TMA's im2col mode, and its stores, as convolutions use them") {
  if (Architecture() != 90 || !cuda::HasSm90aKernels()) return;
  for (const emulator::TmaProbe& probe : emulator::TmaProbes()) {
    const size_t count = static_cast<size_t>(emulator::kTmaProbeRows) * probe.store_columns;
    const cuda::DeviceMemory in = UploadVector(TmaProbeMap(probe)), out = cuda::AllocateDevice(2 * count);
    cuda::Check(cudaMemset(out.get(), 0xff, 2 * count), "poisoning");
    LaunchTmaProbe(probe, static_cast<const uint16_t*>(in.get()), static_cast<uint16_t*>(out.get()));
    cuda::Check(cudaGetLastError(), "launching");
    cuda::Check(cudaDeviceSynchronize(), "running a probe");
    const std::string wrong = CheckTmaProbe(probe, Download<uint16_t>(out, count));
    if (!wrong.empty()) emulator::Fail(wrong);
  }
}

}  // namespace
}  // namespace repvgg::gpu
