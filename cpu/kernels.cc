#include "cpu/kernels.h"

#include <algorithm>

#include "engine/error.h"

namespace repvgg::cpu {
namespace {

bool Supported(const KernelTable* table) {
  if (table == nullptr) return false;
#if defined(__x86_64__)
  if (table == kAvx512Kernels) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma");
  }
  if (table == kAvx2Kernels) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return true;
}

std::vector<const KernelTable*> SupportedTables() {
  std::vector<const KernelTable*> tables;
  for (const KernelTable* table : {kAvx512Kernels, kAvx2Kernels, kNeonKernels, kBaselineKernels}) {
    if (Supported(table)) tables.push_back(table);
  }
  return tables;
}

}  // namespace

std::vector<std::string> SupportedInstructionSets() {
  std::vector<std::string> names;
  for (const KernelTable* table : SupportedTables()) names.emplace_back(table->name);
  return names;
}

const KernelTable& SelectKernels(const std::string& name) {
  const std::vector<const KernelTable*> tables = SupportedTables();
  if (name.empty()) return *tables.front();
  for (const KernelTable* table : tables) {
    if (name == table->name) return *table;
  }
  throw Error("ERR_DEVICE_UNAVAILABLE", "This processor does not have the instruction set \"" + name + "\".");
}

const BlockKernels& SelectBlocks(const KernelTable& kernels, int group_out, int width) {
  const auto sums = [&](const BlockKernels& blocks) {
    const int padded = (group_out + blocks.width - 1) / blocks.width * blocks.width;
    if (width == 0) return padded;
    const int pieces = (width + blocks.most_pixels - 1) / blocks.most_pixels;
    return padded * pieces * ((width + pieces - 1) / pieces);
  };
  int fewest = sums(kernels.blocks[0]);
  for (const BlockKernels& blocks : kernels.blocks) fewest = std::min(fewest, sums(blocks));
  const BlockKernels* widest = nullptr;
  for (const BlockKernels& blocks : kernels.blocks) {
    if (sums(blocks) <= fewest + fewest / 12) widest = &blocks;
  }
  return *widest;
}

ConvolutionShape MakeConvolutionShape(int in_channels, int out_channels, int stride, int groups,
                                      int block_width) {
  const int group_out = out_channels / groups;
  const int blocks = (group_out + block_width - 1) / block_width;
  return {in_channels, out_channels, stride, groups, in_channels / groups, group_out, block_width, blocks};
}

}  // namespace repvgg::cpu
