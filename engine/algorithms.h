// Which algorithms may compute the 3x3 convolutions of a network: one rule, for all backends. Among those
// allowed, a backend uses what it has for a layer and measures to be the fastest.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

namespace repvgg {

struct BackendOptions;
struct NetworkShape;

// By rounding error, the smallest first (docs/kernels.md has the errors). Each may have several kernels.
enum class ConvolutionAlgorithm {
  kFused,   // Of the first two layers together, on a GPU: the same bits as kDirect.
  kDirect,  // The definition's products.
  kF2,      // Winograd's F(2x2, 3x3).
  kF4x2,    // F(4x2, 3x3), on the CPU.
  kF4,      // F(4x4, 3x3).
};

constexpr const char* AlgorithmName(ConvolutionAlgorithm algorithm) {
  constexpr const char* kNames[] = {"fused", "direct", "f2", "f4x2", "f4"};
  return kNames[static_cast<int>(algorithm)];
}

// How much of Winograd's error the user accepts: the option `winograd`.
enum class Winograd { kAuto, kOff, kF2, kF4 };

constexpr const char* WinogradName(Winograd winograd) {
  constexpr const char* kNames[] = {"auto", "off", "f2", "f4"};
  return kNames[static_cast<int>(winograd)];
}

struct AllowedAlgorithms {
  // This one and those before it compete. All by default.
  ConvolutionAlgorithm least_precise = ConvolutionAlgorithm::kF4;
  // Replaces the competition wherever it is among the candidates, allowed or not.
  std::optional<ConvolutionAlgorithm> pinned = {};

  // Leaves the candidates for a layer that may be used; `algorithm_of` gives a candidate's algorithm.
  template <typename Candidate, typename AlgorithmOf>
  void Restrict(std::vector<Candidate>& candidates, AlgorithmOf algorithm_of) const {
    const bool use_pinned =
        pinned && std::ranges::find(candidates, *pinned, algorithm_of) != candidates.end();
    std::erase_if(candidates, [&](const Candidate& candidate) {
      const ConvolutionAlgorithm algorithm = std::invoke(algorithm_of, candidate);
      return use_pinned ? algorithm != *pinned : algorithm > least_precise;
    });
  }
};

AllowedAlgorithms AllowedFor(const NetworkShape& shape, const BackendOptions& options);

}  // namespace repvgg
