#include "cpu/bf16_kernels.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace repvgg::cpu {
namespace {

#if defined(__x86_64__)
// Linux lets a process use the 8 KB of tile state only after it has requested permission.
bool AskForTiles() {
#ifdef __linux__
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}

// CPUID leaf 7, EDX, bits 22 (AMX-BF16) and 24 (AMX-TILE): GCC 12's __builtin_cpu_supports does not know AMX.
bool HasTiles() {
  unsigned eax = 7, ebx = 0, ecx = 0, edx = 0;
  __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return (edx & (1u << 22)) != 0 && (edx & (1u << 24)) != 0 && AskForTiles();
}
#endif

bool Supported(const Bf16Kernels* kernels) {
  if (kernels == nullptr) return false;
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bf16");
  return avx512 && (kernels != kAmxKernels || HasTiles());
#else
  return false;
#endif
}

}  // namespace

const Bf16Kernels* SelectBf16Kernels(const std::string& name) {
  for (const Bf16Kernels* kernels : {kAmxKernels, kAvx512Bf16Kernels}) {
    if (Supported(kernels) && (name.empty() || name == kernels->name)) return kernels;
  }
  return nullptr;
}

}  // namespace repvgg::cpu
