#include "test/emulator/ranking.h"

#include <cmath>
#include <limits>
#include <string>

#include "engine/topk.h"
#include "test/emulator/layers.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {

std::vector<RankingProblem> RankingProblems() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> rounded = RandomNormal(2 * 300, 2, 18);  // With many equal ones.
  for (float& logit : rounded) logit = std::round(logit);
  return {
      {RandomNormal(3 * 1000, 3, 16), 3, 5},
      {RandomNormal(1000, 10, 19), 1, 1},
      {RandomNormal(10, 1, 17), 1, 10},
      {rounded, 2, 300},
      {{-3.5f, 20}, 2, 1},
      {{1, 2, 2, -0.0f, 0.0f, 2, 1, -kInfinity, -5, -5}, 1, 10},
      {{0.0f, -0.0f, 0.0f, -0.0f}, 1, 4},
      {{kNan, -kInfinity, 3, kNan, 7, -1}, 1, 6},
      {{1, kInfinity, 2, kInfinity, -kInfinity}, 1, 5},
      {{kInfinity, kNan, -kNan, 1, kNan}, 1, 5},
      {{-kInfinity, -kInfinity}, 1, 2},
      {{kNan, kNan, kNan}, 1, 3},
      {{-std::numeric_limits<float>::max(), std::numeric_limits<float>::max(), 1e-45f, -1e-45f}, 1, 4},
  };
}

void CheckRanking(const RankingProblem& problem, const Ranking& got) {
  const int classes = static_cast<int>(problem.logits.size()) / problem.images;
  std::vector<float> scores(problem.k);
  std::vector<int32_t> indices(problem.k);
  for (size_t i = 0; i < got.indices.size(); ++i) {
    const size_t image = i / problem.k, place = i % problem.k;
    if (place == 0) {
      SoftmaxTopK(&problem.logits[image * classes], classes, problem.k, indices.data(), scores.data());
    }
    const std::string where = " at place " + std::to_string(place) + " of image " + std::to_string(image);
    if (got.indices[i] != indices[place]) {
      Fail("class " + std::to_string(got.indices[i]) + " instead of " + std::to_string(indices[place]) +
           where);
    }
    const double expected = scores[place], error = std::abs(got.scores[i] - expected);
    // The smallest are denormal: their last bit is more than that of them.
    const bool right = std::isnan(expected) ? std::isnan(got.scores[i]) : error <= 5e-6 * expected + 2e-45;
    if (!right) {
      Fail("score " + std::to_string(got.scores[i]) + " instead of " + std::to_string(expected) + where);
    }
  }
}

}  // namespace repvgg::emulator
