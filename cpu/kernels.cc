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
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  }
  if (table == kAvx2Kernels) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return true;
}

std::vector<const KernelTable*> SupportedTables() {
  std::vector<const KernelTable*> tables;
  for (const KernelTable* table : {kAvx512Kernels, kAvx2Kernels, kBaselineKernels}) {
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

PackedConvolution Pack(const float* weight, const float* bias, int taps, int in_channels, int out_channels,
                       int stride, int groups, int block_width) {
  PackedConvolution packed;
  static_cast<ConvolutionShape&>(packed) =
      MakeConvolutionShape(in_channels, out_channels, stride, groups, block_width);
  const bool whole_rows = taps == 9 && groups == 1;
  packed.runs = whole_rows ? 3 : taps;
  packed.run_length = whole_rows ? 3 * in_channels : packed.group_in;
  for (int run = 0; run < packed.runs && taps == 9; ++run) {
    const int first_tap = whole_rows ? run * 3 : run;
    packed.run[run] = {first_tap / 3 - 1, (first_tap % 3 - 1) * in_channels};
  }

  // Taps follow each other in a run, and runs in the window: the order is that of taps, then channels, either
  // way.
  const size_t block_size = static_cast<size_t>(taps) * packed.group_in * block_width;
  const size_t blocks = static_cast<size_t>(groups) * packed.blocks;
  packed.storage = HugeArray<float>(blocks * (block_size + block_width));
  float* packed_bias = packed.storage.data() + blocks * block_size;
  // Lane by lane inside: what is written then lies together, and the rows that are read are few.
  const size_t row = static_cast<size_t>(packed.group_in) * taps;
  for (size_t block = 0; block < blocks; ++block) {
    const int in_group = static_cast<int>(block % packed.blocks) * block_width;
    const size_t channel = block / packed.blocks * packed.group_out + in_group;
    const int lanes = std::min(block_width, packed.group_out - in_group);
    if (bias != nullptr) std::copy_n(bias + channel, lanes, packed_bias + block * block_width);
    for (int c = 0; c < packed.group_in; ++c) {
      for (int tap = 0; tap < taps; ++tap) {
        const float* from = weight + channel * row + static_cast<size_t>(c) * taps + tap;
        float* to = packed.storage.data() + block * block_size +
                    (static_cast<size_t>(tap) * packed.group_in + c) * block_width;
        for (int lane = 0; lane < lanes; ++lane) to[lane] = from[lane * row];
      }
    }
  }
  packed.weight = packed.storage.data();
  packed.bias = packed_bias;
  return packed;
}

}  // namespace repvgg::cpu
