// What networks take of the device beside their weights: two buffers of maps and at most 64 MB, whatever
// algorithm runs in each layer.
#include "cuda/buffer_plan.h"

#include <algorithm>

#include "cuda/candidates.h"
#include "cuda/winograd_chain.h"
#include "cuda/winograd_f4.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Algorithm;

constexpr size_t kMegabyte = 1 << 20;

struct Variant {
  const char* name;
  int depths[5], widths[5], groups;
};
constexpr Variant kVariants[] = {
    {"A0", {1, 2, 4, 14, 1}, {48, 48, 96, 192, 1280}, 1},
    {"A1", {1, 2, 4, 14, 1}, {64, 64, 128, 256, 1280}, 1},
    {"A2", {1, 2, 4, 14, 1}, {64, 96, 192, 384, 1408}, 1},
    {"B0", {1, 4, 6, 16, 1}, {64, 64, 128, 256, 1280}, 1},
    {"B1", {1, 4, 6, 16, 1}, {64, 128, 256, 512, 2048}, 1},
    {"B1g4", {1, 4, 6, 16, 1}, {64, 128, 256, 512, 2048}, 4},
    {"B2", {1, 4, 6, 16, 1}, {64, 160, 320, 640, 2560}, 1},
    {"B3", {1, 4, 6, 16, 1}, {64, 192, 384, 768, 2560}, 1},
};

NetworkShape MakeShape(const Variant& variant) {
  NetworkShape shape;
  shape.height = shape.width = 224;
  int channels = 3;
  for (int stage = 0; stage < 5; ++stage) {
    for (int i = 0; i < variant.depths[stage]; ++i, channels = variant.widths[stage]) {
      const int groups = shape.blocks.size() % 2 == 0 && i > 0 ? variant.groups : 1;
      shape.blocks.push_back({channels, variant.widths[stage], i == 0 ? 2 : 1, groups, false, 0});
    }
  }
  return shape;
}

// Of each block, with that algorithm wherever it can be.
std::vector<size_t> Workspaces(const NetworkShape& shape, const MemoryPlan& plan, int batch,
                               Precision precision, Algorithm algorithm) {
  std::vector<size_t> bytes;
  for (size_t i = 0; i < shape.blocks.size(); ++i) {
    const BlockShape& block = shape.blocks[i];
    cuda::Convolution layer;
    layer.batch = batch;
    layer.height = plan.sizes[i].height;
    layer.width = plan.sizes[i].width;
    layer.in_channels = block.in_channels;
    layer.out_channels = block.out_channels;
    layer.stride = block.stride;
    layer.groups = block.groups;
    const bool fits = algorithm == Algorithm::kWinogradF4
                          ? cuda::WinogradF4Fits(layer)
                          : cuda::ChainFits(layer, precision, algorithm == Algorithm::kChainF2 ? 2 : 4);
    bytes.push_back(i > 0 && fits ? cuda::WorkspaceBytes(layer, {algorithm, 0, ""}) : 0);
  }
  return bytes;
}

TEST("buffers: two of maps, and 64 MB for all else") {
  for (const Variant& variant : kVariants) {
    const NetworkShape shape = MakeShape(variant);
    const MemoryPlan plan = PlanMemory(shape, 0);
    const auto ping_pong = plan.PingPong(1, shape.blocks.size());
    for (const int batch : {1, 8, 32, 128, 256}) {
      for (const Algorithm algorithm : {Algorithm::kWinogradF4, Algorithm::kChainF2, Algorithm::kChainF4}) {
        const Precision precision = algorithm == Algorithm::kWinogradF4 ? Precision::kFp32 : Precision::kFp16;
        const size_t element = ElementSize(precision);
        const std::vector<size_t> workspaces = Workspaces(shape, plan, batch, precision, algorithm);
        const size_t most = *std::ranges::max_element(workspaces);
        if (most == 0 || most > cuda::kWorkspaceBytes) Fail("a workspace of " + std::to_string(most));
        const cuda::BufferPlan buffers = cuda::PlanBuffers(plan, batch, element, workspaces);
        // Pixels, and twice embeddings and logits.
        const size_t others = batch * (size_t{3} * 224 * 224 + 2 * 4 * (plan.elements.back() / 49 + 1000));
        const size_t extra =
            buffers.bytes[0] + buffers.bytes[1] + others - batch * (ping_pong[0] + ping_pong[1]) * element;
        if (extra > 64 * kMegabyte) {
          Fail(std::string(variant.name) + ", batch " + std::to_string(batch) + ": " +
               std::to_string(extra / kMegabyte) + " MB beside the maps");
        }
        // No block's maps reach into the workspace that it uses.
        for (size_t i = 1; i < shape.blocks.size(); ++i) {
          const size_t map = i + (buffers.workspace_buffer == static_cast<int>(i % 2));
          if (workspaces[i] == 0) continue;
          if (batch * plan.elements[map] * element > buffers.workspace_offset ||
              buffers.workspace_offset + workspaces[i] > buffers.bytes[buffers.workspace_buffer]) {
            Fail(std::string(variant.name) + ": block " + std::to_string(i) + " overwrites its workspace");
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace repvgg::emulator
