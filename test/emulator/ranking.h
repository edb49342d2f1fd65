// Logits for the tests of top-k, and what engine/topk.h gives of them.
#pragma once

#include <cstdint>
#include <vector>

namespace repvgg::emulator {

struct RankingProblem {
  std::vector<float> logits;  // [images][classes]
  int images = 0;
  int k = 0;
};
// Random ones, and all that the order has to decide: equal ones, zeros of both signs, infinities, NaN.
std::vector<RankingProblem> RankingProblems();

struct Ranking {
  std::vector<float> scores;  // [images][k]
  std::vector<int32_t> indices;
};
// Fails unless indices are those of SoftmaxTopK, which computes in float64, and scores within a relative
// 5e-6.
void CheckRanking(const RankingProblem& problem, const Ranking& got);

}  // namespace repvgg::emulator
