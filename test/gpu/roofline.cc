// Not a test: a roofline of each kernel in fp16. With REPVGG_ROOFLINE=A2,B1 (or all) in the environment it
// prints the device's measured peaks and, for each layer, batch and candidate of these networks, the time and
// the share of it that the larger of two bounds takes: the multiply-adds of direct convolution at the
// measured rate of the tensor cores, and the bytes at that of a copy. Shares above 1 are Winograd's. The
// first two layers get a line for one after the other, and one for the fused kernel.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "cuda/layer_timer.h"
#include "cuda/limits.h"
#include "cuda/stem.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

constexpr int kBatches[] = {32, 128, 256};

struct Variant {
  const char* name;
  int widths[5];
  int groups;  // Of every other layer.
};
constexpr Variant kVariants[] = {
    {"A0", {48, 48, 96, 192, 1280}, 1},     {"A1", {64, 64, 128, 256, 1280}, 1},
    {"A2", {64, 96, 192, 384, 1408}, 1},    {"B1", {64, 128, 256, 512, 2048}, 1},
    {"B1g2", {64, 128, 256, 512, 2048}, 2}, {"B1g4", {64, 128, 256, 512, 2048}, 4},
    {"B2", {64, 160, 320, 640, 2560}, 1},   {"B2g4", {64, 160, 320, 640, 2560}, 4},
    {"B3", {64, 192, 384, 768, 2560}, 1},   {"B3g4", {64, 192, 384, 768, 2560}, 4},
};

// Every distinct layer after the first, at 224 x 224.
std::vector<emulator::Layer> Layers(const Variant& variant) {
  std::vector<emulator::Layer> layers;
  int side = 112;
  for (int stage = 1; stage <= 4; ++stage, side /= 2) {
    layers.push_back(emulator::MakeLayer(variant.widths[stage - 1], variant.widths[stage], 2, 1, side));
    if (stage == 4) break;
    layers.push_back(emulator::MakeLayer(variant.widths[stage], variant.widths[stage], 1, 1, side / 2));
    if (variant.groups == 1) continue;
    layers.push_back(
        emulator::MakeLayer(variant.widths[stage], variant.widths[stage], 1, variant.groups, side / 2));
  }
  return layers;
}

bool Wanted(const std::string& variant) {
  const char* const given = std::getenv("REPVGG_ROOFLINE");
  if (given == nullptr) return false;
  const std::string list = ',' + std::string(given) + ',';
  return list == ",all," || list.find(',' + variant + ',') != std::string::npos;
}

TEST("roofline") {
  if (std::getenv("REPVGG_ROOFLINE") == nullptr) return;
  cudaDeviceProp properties;
  cuda::Check(cudaGetDeviceProperties(&properties, 0), "asking for the device");
  const cuda::DeviceTraits device = {0,
                                     properties.name,
                                     Architecture(),
                                     properties.multiProcessorCount,
                                     static_cast<size_t>(properties.l2CacheSize),
                                     0};
  const DeviceLimits limits = cuda::MeasureLimits(0, Precision::kFp16, 0.5, true);
  const double copy_rate = limits.copy_gbps * 1e9, peak = limits.matrix_gflops.value() * 1e9;
  std::printf("{\"device\": \"%s\", \"copyGBps\": %.0f, \"peakTflops\": %.1f, \"instruction\": \"%s\"}\n",
              properties.name, copy_rate / 1e9, peak / 1e12, limits.instruction_set.c_str());

  const auto say = [](const Variant& variant, const std::string& layer, const cuda::Candidate& candidate,
                      double microseconds, double operations, double floor) {
    std::printf(
        "{\"variant\": \"%s\", \"layer\": \"%s\", \"candidate\": \"%s\", \"microseconds\": %.1f, "
        "\"tflops\": %.1f, \"ofRoofline\": %.3f}\n",
        variant.name, layer.c_str(), candidate.name.c_str(), microseconds, operations / microseconds / 1e6,
        floor / microseconds * 1e6);
    std::fflush(stdout);
  };
  cuda::MeasureLayer measure = cuda::MakeLayerTimer(device, Precision::kFp16);
  for (const Variant& variant : kVariants) {
    if (!Wanted(variant.name)) continue;
    for (emulator::Layer layer : Layers(variant)) {
      for (const int batch : kBatches) {
        layer.batch = batch;
        const double weights = 9.0 * layer.group_in() * layer.out_channels;
        const double operations = 2 * weights * layer.pixels();
        const double bytes = 2 * (double(batch) * layer.height * layer.width * layer.in_channels + weights +
                                  double(layer.pixels()) * layer.out_channels);
        const double floor = std::max(operations / peak, bytes / copy_rate);
        cuda::Candidate fastest;
        double least = std::numeric_limits<double>::infinity();
        for (const cuda::Candidate& candidate :
             ListCandidates(layer, Precision::kFp16, device.architecture, {})) {
          const auto microseconds = measure(layer, candidate);
          if (!microseconds) continue;
          say(variant, emulator::LayerName(layer), candidate, *microseconds, operations, floor);
          if (*microseconds < least) least = *microseconds, fastest = candidate;
        }
        if (layer.height != 112 || std::isinf(least)) continue;
        cuda::Stem stem;
        stem.batch = batch;
        stem.height = stem.width = 224;
        stem.out_channels = layer.in_channels;
        cuda::Convolution both = layer;
        both.stem = &stem;
        const double all_operations =
            operations + 2 * 27.0 * batch * layer.height * layer.width * layer.in_channels;
        const double all_bytes = 3.0 * batch * stem.height * stem.width +
                                 2 * (weights + double(layer.pixels()) * layer.out_channels);
        const double all_floor = std::max(all_operations / peak, all_bytes / copy_rate);
        for (const cuda::Candidate& candidate :
             ListFirstTwo(both, fastest, Precision::kFp16, device.architecture, {})) {
          const auto microseconds = measure(both, candidate);
          if (microseconds)
            say(variant, "the first two", candidate, *microseconds, all_operations, all_floor);
        }
      }
    }
  }
}

}  // namespace
}  // namespace repvgg::gpu
