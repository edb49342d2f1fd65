#include "test/emulator/stem_problem.h"

#include <algorithm>
#include <cmath>

#include "engine/normalization.h"
#include "test/emulator/layers.h"

namespace repvgg::emulator {

StemProblem MakeStemProblem(const cuda::Stem& stem) {
  const int channels = stem.out_channels, height = stem.height, width = stem.width;
  StemProblem problem;
  for (const float value : RandomNormal(static_cast<size_t>(stem.batch) * height * width * 3, 90, 4)) {
    problem.pixels.push_back(static_cast<uint8_t>(std::min(std::abs(value), 255.0f)));
  }
  problem.normalized = NormalizationTable({0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f});
  problem.weight = RandomNormal(static_cast<size_t>(channels) * 27, 0.27, 5);
  problem.bias = RandomNormal(channels, 0.1, 6);
  for (int i = 0; i < stem.batch * stem.out_height() * stem.out_width(); ++i) {
    const int x = i % stem.out_width() * 2, y = i / stem.out_width() % stem.out_height() * 2;
    const int image = i / stem.out_width() / stem.out_height();
    for (int k = 0; k < channels; ++k) {
      double sum = problem.bias[k];
      for (int tap = 0; tap < 27; ++tap) {
        const int c = tap / 9, from_y = y + tap / 3 % 3 - 1, from_x = x + tap % 3 - 1;
        if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width) continue;
        const size_t at = (static_cast<size_t>(image) * height + from_y) * width + from_x;
        // Normalised in float, as torchvision and the CPU backend do it.
        sum += static_cast<double>(problem.normalized[c * 256 + problem.pixels[at * 3 + c]]) *
               problem.weight[k * 27 + tap];
      }
      problem.expected.push_back(stem.relu ? std::max(sum, 0.0) : sum);
    }
  }
  return problem;
}

}  // namespace repvgg::emulator
