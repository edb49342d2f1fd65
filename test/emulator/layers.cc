#include "test/emulator/layers.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "engine/e4m3.h"
#include "test/emulator/formats.h"

namespace repvgg::emulator {

Round RoundTo(Precision precision) {
  constexpr Round kRounds[] = {[](float value) { return value; }, FloatToTf32,
                               [](float value) { return HalfToFloat(FloatToHalf(value)); },
                               [](float value) { return BFloat16ToFloat(FloatToBFloat16(value)); },
                               RoundToE4m3};
  return kRounds[static_cast<int>(precision)];
}

Distance DirectBound(Precision precision) {
  constexpr Distance kBounds[] = {{6e-7, 1e-5}, {6e-4, 4e-3}, {3e-4, 4e-3}, {2.5e-3, 3e-2}, {4e-2, 1}};
  return kBounds[static_cast<int>(precision)];
}

Distance WinogradBound(Precision precision, int tile_side) {
  if (precision == Precision::kFp32) {
    return tile_side == 2 ? Distance{1.5e-6, 1e-5} : Distance{5e-6, 1e-4};
  }
  if (precision == Precision::kFp16) {
    return tile_side == 2 ? Distance{9e-4, 8e-3} : Distance{2.5e-3, 2.5e-2};
  }
  return tile_side == 2 ? Distance{7e-3, 5e-2} : Distance{2e-2, 2e-1};
}

Layer MakeLayer(int in_channels, int out_channels, int stride, int groups, int size, int batch) {
  Layer layer;
  layer.batch = batch;
  layer.height = layer.width = size;
  layer.in_channels = in_channels;
  layer.out_channels = out_channels;
  layer.stride = stride;
  layer.groups = groups;
  return layer;
}

std::string LayerName(const Layer& layer) {
  std::string name = std::to_string(layer.in_channels) + " to " + std::to_string(layer.out_channels);
  if (layer.stride > 1) name += ", stride " + std::to_string(layer.stride);
  if (layer.groups > 1) name += ", " + std::to_string(layer.groups) + " groups";
  return name + ", " + std::to_string(layer.batch) + " x " + std::to_string(layer.height) + " x " +
         std::to_string(layer.width);
}

std::vector<Layer> OfficialLayers() {
  struct Network {
    int widths[5];
    std::vector<int> groups;
  };
  // A0; A1 and B0; A2; B1; B2, D2se and RepVGGplus-L2pse; B3. Strided layers are never grouped.
  const Network networks[] = {
      {{48, 48, 96, 192, 1280}, {1}},         {{64, 64, 128, 256, 1280}, {1}},
      {{64, 96, 192, 384, 1408}, {1}},        {{64, 128, 256, 512, 2048}, {1, 2, 4}},
      {{64, 160, 320, 640, 2560}, {1, 2, 4}}, {{64, 192, 384, 768, 2560}, {1, 2, 4}},
  };
  std::vector<Layer> layers;
  const auto add = [&](int in, int out, int stride, int groups) {
    const bool known = std::any_of(layers.begin(), layers.end(), [&](const Layer& l) {
      return l.in_channels == in && l.out_channels == out && l.stride == stride && l.groups == groups;
    });
    if (!known) layers.push_back(MakeLayer(in, out, stride, groups, stride == 1 ? 6 : 5));
  };
  for (const Network& network : networks) {
    for (int stage = 1; stage <= 4; ++stage) {
      add(network.widths[stage - 1], network.widths[stage], 2, 1);
      if (stage == 4) continue;
      for (const int groups : network.groups) add(network.widths[stage], network.widths[stage], 1, groups);
    }
  }
  return layers;
}

std::vector<Layer> NarrowLayers(int most_channels) {
  std::vector<Layer> layers = OfficialLayers();
  const char* const sweep = std::getenv("REPVGG_EMULATOR");
  if (sweep == nullptr || std::strcmp(sweep, "whole") != 0) {
    std::erase_if(layers, [&](const Layer& layer) { return layer.group_in() > most_channels; });
  }
  return layers;
}

// The sum of four uniform values is near enough to normal, and cheap: some layers have 18 million weights.
std::vector<float> RandomNormal(size_t count, double deviation, unsigned seed) {
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  const double scale = deviation * std::sqrt(3.0) / 65536;
  std::vector<float> values(count);
  for (float& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t bits = state ^ state >> 29;
    const int sum =
        static_cast<int>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    value = static_cast<float>((sum - 2 * 65535) * scale);
  }
  return values;
}

Problem MakeProblem(const Layer& layer, Round round, const std::vector<double>& in) {
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const int height = layer.out_height(), width = layer.out_width();
  Problem problem;
  problem.in.assign(in.begin(), in.end());
  if (in.empty()) {
    problem.in =
        RandomNormal(static_cast<size_t>(layer.batch) * layer.height * layer.width * layer.in_channels, 1, 1);
  }
  for (float& value : problem.in) value = round(std::max(value, 0.0f));
  problem.weight =
      RandomNormal(static_cast<size_t>(layer.out_channels) * group_in * 9, std::sqrt(2.0 / 9 / group_in), 2);
  for (float& value : problem.weight) value = round(value);
  problem.bias = RandomNormal(layer.out_channels, 0.1, 3);

  // [group][tap][channel in][channel out]: the inner loop runs over neighbouring values.
  std::vector<double> weight(problem.weight.size());
  for (int k = 0; k < layer.out_channels; ++k) {
    for (int c = 0; c < group_in; ++c) {
      for (int tap = 0; tap < 9; ++tap) {
        weight[((static_cast<size_t>(k / group_out) * 9 + tap) * group_in + c) * group_out + k % group_out] =
            problem.weight[(static_cast<size_t>(k) * group_in + c) * 9 + tap];
      }
    }
  }
  problem.expected.resize(static_cast<size_t>(layer.batch) * height * width * layer.out_channels);
  // A few pixels at a time, so that rows of weights, of which large layers have more than caches hold, are
  // read once for all of them.
  constexpr int kPixels = 16;
  for (int first = 0; first < layer.pixels(); first += kPixels) {
    const int end = std::min(first + kPixels, layer.pixels());
    double* const out = &problem.expected[static_cast<size_t>(first) * layer.out_channels];
    for (int i = first; i < end; ++i) {
      std::copy(problem.bias.begin(), problem.bias.end(), out + (i - first) * layer.out_channels);
    }
    for (int tap = 0; tap < 9; ++tap) {
      const float* from[kPixels] = {};  // Null outside the map.
      for (int i = first; i < end; ++i) {
        const int x = i % width * layer.stride + tap % 3 - 1,
                  y = i / width % height * layer.stride + tap / 3 - 1;
        if (y < 0 || y >= layer.height || x < 0 || x >= layer.width) continue;
        const size_t pixel = (static_cast<size_t>(i / width / height) * layer.height + y) * layer.width + x;
        from[i - first] = &problem.in[pixel * layer.in_channels];
      }
      for (int channel = 0; channel < layer.in_channels; ++channel) {
        const int group = channel / group_in, c = channel % group_in;
        const double* const row =
            &weight[((static_cast<size_t>(group) * 9 + tap) * group_in + c) * group_out];
        for (int i = 0; i < end - first; ++i) {
          const double value = from[i] == nullptr ? 0 : from[i][channel];
          if (value == 0) continue;
          double* const sums = out + i * layer.out_channels + group * group_out;
          for (int k = 0; k < group_out; ++k) sums[k] += value * row[k];
        }
      }
    }
  }
  if (layer.relu) {
    for (double& value : problem.expected) value = std::max(value, 0.0);
  }
  return problem;
}

Problem MakeLargeProblem(const Layer& layer, Round round) {
  Problem problem = MakeProblem(layer, round);
  const float largest = *std::max_element(problem.in.begin(), problem.in.end());
  // Powers of two scale everything, and the result, exactly.
  const float scale = std::exp2(std::floor(std::log2(65000 / largest)));
  for (float& value : problem.in) value *= scale;
  for (float& value : problem.weight) value = round(value / scale);
  return problem;
}

}  // namespace repvgg::emulator
