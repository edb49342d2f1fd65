// Compares the ranking of classes with the host's.
#include "test/emulator/ranking.h"

#include "cuda/head.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

TEST("head: softmax and top-k") {
  std::vector<emulator::RankingProblem> problems = emulator::RankingProblems();
  problems.push_back({emulator::RandomNormal(size_t{256} * 1000, 3, 20), 256, 5});
  problems.push_back({emulator::RandomNormal(2 * 21841, 3, 21), 2, 1000});
  for (const emulator::RankingProblem& problem : problems) {
    const int classes = static_cast<int>(problem.logits.size()) / problem.images;
    const size_t count = static_cast<size_t>(problem.images) * problem.k;
    const cuda::DeviceMemory logits = UploadVector(problem.logits),
                             scores = cuda::AllocateDevice(count * sizeof(float)),
                             indices = cuda::AllocateDevice(count * sizeof(int32_t));
    cuda::Check(cuda::LaunchSoftmaxTopK(static_cast<const float*>(logits.get()), problem.images, classes,
                                        problem.k, static_cast<int32_t*>(indices.get()),
                                        static_cast<float*>(scores.get()), nullptr),
                "ranking");
    emulator::CheckRanking(problem, {Download<float>(scores, count), Download<int32_t>(indices, count)});
  }
}

}  // namespace
}  // namespace repvgg::gpu
