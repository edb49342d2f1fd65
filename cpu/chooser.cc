#include "cpu/chooser.h"

#include <time.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "cpu/fp32_direct.h"
#include "cpu/thread_pool.h"

namespace repvgg::cpu {
namespace {

constexpr int kRuns = 3;

// Algorithms whose modelled time exceeds the best one's by more than this factor are not measured.
constexpr double kHopeless = 2;

// A model of a block's time, in nanoseconds per image and pair of channels, from arithmetic and memory
// traffic: `products` multiplications at 64 per nanosecond (AVX-512 at 2 GHz; only the ratio to the memory's
// 12 bytes per nanosecond matters) and `weights` floats, read once for `images` images.
double ModelTime(ConvolutionAlgorithm algorithm, const BlockShape& block, MapSize out, int images) {
  const auto time = [&](double products, double weights) {
    return products / 64 + weights * 4 / 12 / images;
  };
  if (algorithm == ConvolutionAlgorithm::kDirect) return time(9.0 * out.height * out.width, 9);
  const WinogradTile tile = TileOf(algorithm);
  const auto products = [](int side, int pixels) {
    const WinogradSide cut = CutIntoTiles(side, pixels);
    return double(cut.whole * (side + 2) + cut.narrow * 4);
  };
  // Transforms cost as much as 14 further channels per group (a seventh more at 96 channels).
  return time(products(tile.rows, out.height) * products(tile.columns, out.width) *
                  (1 + 14.0 * block.groups / block.in_channels),
              tile.positions());
}

// The CPU time of this thread, which excludes time while it is preempted.
double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

// Memory to read before each run, which evicts other data from the caches: in a network, a layer's weights
// were last used one whole pass ago.
class Sweep {
 public:
  // Written once: reads of untouched memory all go to the same page of zeros, which evicts nothing.
  Sweep() : floats_(size_t{16} << 20) { std::fill_n(floats_.data(), floats_.size(), 1.0f); }  // 64 MB

  void Run() const {
    volatile float sum = 0;
    for (size_t i = 0; i < floats_.size(); i += 16) sum = sum + floats_.data()[i];
  }

 private:
  HugeArray<float> floats_;
};

double Microseconds(const KernelTable& kernels, const BlockShape& block, MapSize in, MapSize out, int images,
                    ConvolutionAlgorithm algorithm, Floats weight, Floats bias, const Sweep& sweep) {
  ThreadPool pool(1);
  Scratch scratch(1);
  const auto layer = MakeConvolution(kernels, block, out.width, algorithm, weight, bias, scratch);
  const auto elements = [&](MapSize size, int channels) {
    return static_cast<size_t>(images) * (size.height + 2) * (size.width + 2) * channels;
  };
  HugeArray<float> input(elements(in, block.in_channels) + kReadAhead);
  std::fill_n(input.data(), input.size(), 0.5f);
  HugeArray<float> output(elements(out, block.out_channels));
  double best = 0;
  for (int run = 0; run <= kRuns; ++run) {  // The first run faults in the memory and is not timed.
    sweep.Run();
    const double start = ThreadSeconds();
    layer->Run(pool, images, {input.data(), in, block.in_channels}, {output.data(), out, block.out_channels},
               true);
    const double seconds = ThreadSeconds() - start;
    if (run == 1 || (run > 1 && seconds < best)) best = seconds;
  }
  return std::max(best * 1e6, 1e-3);
}

// The first processor's name, with the numbers of its generation: some virtual machines name only its kind,
// and Arm's have numbers only.
std::string ProcessorName() {
  std::ifstream in("/proc/cpuinfo");
  std::string name;
  for (std::string line; std::getline(in, line) && !line.empty();) {
    for (const char* const field :
         {"cpu family", "model", "model name", "CPU implementer", "CPU variant", "CPU part"}) {
      if (line.substr(0, line.find_first_of("\t:")) != field) continue;
      name += (name.empty() ? "" : ", ") + line.substr(std::min(line.size(), line.find(':') + 2));
    }
  }
  return name;
}

}  // namespace

std::unique_ptr<Fp32Convolution> MakeConvolution(const KernelTable& kernels, const BlockShape& block,
                                                 int width, ConvolutionAlgorithm algorithm, Floats weight,
                                                 Floats bias, Scratch& scratch) {
  if (algorithm == ConvolutionAlgorithm::kDirect)
    return std::make_unique<Fp32Direct>(kernels, block, width, 9, weight, bias);
  return std::make_unique<Fp32Winograd>(kernels, block, TileOf(algorithm), weight, bias, scratch);
}

struct SharedTimings {
  explicit SharedTimings(const KernelTable& kernels)
      : timings(CacheDirectory(), "cpu",
                "\"processor\": \"" + JsonSafe(ProcessorName()) + "\", \"instructionSet\": \"" +
                    kernels.name + "\", \"version\": \"" REPVGG_VERSION "\"") {}
  std::mutex mutex;
  Timings timings;
};

namespace {

SharedTimings& TimingsOf(const KernelTable& kernels) {
  static std::mutex mutex;
  // Never destroyed: threads may still load networks during process exit.
  static auto* const all = new std::map<std::string, SharedTimings>;
  const std::lock_guard lock(mutex);
  return all->try_emplace(kernels.name, kernels).first->second;
}

}  // namespace

Chooser::Chooser(const KernelTable& kernels, const AllowedAlgorithms& allowed)
    : kernels_(kernels),
      timings_(TimingsOf(kernels)),
      allowed_(allowed),
      candidates_({ConvolutionAlgorithm::kDirect, ConvolutionAlgorithm::kF2, ConvolutionAlgorithm::kF4x2,
                   ConvolutionAlgorithm::kF4}) {
  allowed_.Restrict(candidates_, std::identity());
}

bool Chooser::direct_only() const { return candidates_ == std::vector{ConvolutionAlgorithm::kDirect}; }

Choice Chooser::Choose(const BlockShape& block, MapSize in, MapSize out, int images, Floats weight,
                       Floats bias) const {
  if (block.stride != 1 || block.in_channels % kernels_.lanes != 0) return {};
  std::vector<ConvolutionAlgorithm> algorithms = candidates_;
  if (algorithms.size() == 1) {
    return {algorithms[0], algorithms[0] == allowed_.pinned ? "pinned" : "only", {}};
  }
  const auto time = [&](ConvolutionAlgorithm algorithm) { return ModelTime(algorithm, block, out, images); };
  std::ranges::sort(algorithms, {}, time);
  std::erase_if(algorithms, [&, best = time(algorithms[0])](ConvolutionAlgorithm algorithm) {
    return time(algorithm) > kHopeless * best;
  });
  std::vector<std::string> names;
  for (const ConvolutionAlgorithm algorithm : algorithms) names.emplace_back(AlgorithmName(algorithm));
  const std::string key = LayerKey(images, in.height, in.width, block.in_channels, block.out_channels,
                                   block.stride, block.groups);
  const std::lock_guard lock(timings_.mutex);
  std::optional<Sweep> sweep;  // Only where something is measured.
  Pick pick = timings_.timings.Choose(key, names, 0, [&](size_t index) {
    if (!sweep) sweep.emplace();
    return Microseconds(kernels_, block, in, out, images, algorithms[index], weight, bias, *sweep);
  });
  return {algorithms[pick.candidate], pick.source, std::move(pick.timings)};
}

}  // namespace repvgg::cpu
