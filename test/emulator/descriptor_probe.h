// Which descriptor makes wgmma read rows of 128 swizzled bytes from another row on than the first of eight:
// what nine taps from one patch of pixels would need. The PTX ISA manual has a field for it, "base offset";
// what it does to rows whose blocks of eight begin anywhere is not written there. The same kernel runs in the
// emulator and on a GPU.
#pragma once

#include <string>
#include <vector>

#include "cuda/runtime.h"

namespace repvgg::emulator {

// Rows of an operand: m is row `shift` + m / 8 * `pitch` + m % 8 of the patch.
struct DescriptorProbe {
  int pitch, shift;
  int base_offset;
  int step;  // Of 32 bytes.
};

inline constexpr int kDescriptorProbeRows = 64;

// The taps of 3 x 3 where lines have `pitch` pixels; with lines of 8, every shift within them.
std::vector<DescriptorProbe> DescriptorProbes();

// out[probe][row][2]: which 16 bytes of the patch were read as the two halves of each row's 32, row * 8 +
// chunk.
cudaError_t LaunchDescriptorProbes(const DescriptorProbe* probes, int count, float* out);

// "8: 0=01234567 1=1 ...; 10: ...": of each pitch and shift, the base offsets that are right in every step.
std::string DescribeDescriptorProbes(const std::vector<float>& out);

}  // namespace repvgg::emulator
