#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "cuda/architectures.h"
#include "test/emulator/layers.h"
#include "test/emulator/networks.h"

namespace repvgg::emulator {
namespace {

TEST("chooser: the GPUs that a list of architectures has code for") {
  const auto expect = [](const char* list, std::vector<int> devices) {
    for (const int device : {70, 75, 80, 86, 89, 90, 100, 120}) {
      const bool expected = std::find(devices.begin(), devices.end(), device) != devices.end();
      if (HasKernels(list, device) != expected) Fail(std::string(list) + " on " + std::to_string(device));
    }
  };
  expect("80-real", {80, 86, 89});
  expect("80-virtual", {80, 86, 89, 90, 100, 120});
  expect("86", {86, 89, 90, 100, 120});
  expect("90a-real", {90});
  expect("90a", {90});
  expect("70-real, 86-real, 90a-real, 90-virtual", {70, 86, 89, 90, 100, 120});
  // Code for older tensor cores would start and do nothing.
  expect("70", {70});
  expect("75", {75});
  expect("75-real, 80-virtual", {75, 80, 86, 89, 90, 100, 120});
  expect("75-virtual, 86-virtual", {75, 86, 89, 90, 100, 120});
  // The driver takes the machine code, although the PTX is newer.
  expect("70-real, 75-virtual", {70});
}

AllowedAlgorithms Allowed(Precision precision, Winograd winograd = Winograd::kAuto, bool gated = false) {
  NetworkShape shape;
  if (gated) shape.squeeze_excite = SqueezeExcitePosition::kAfterRelu;
  BackendOptions options;
  options.precision = precision;
  options.winograd = winograd;
  return AllowedFor(shape, options);
}

AllowedAlgorithms Pinned(ConvolutionAlgorithm algorithm) {
  return {ConvolutionAlgorithm::kDirect, algorithm};
}

TEST("chooser: each value of winograd allows its algorithms, auto by precision and gates") {
  const cuda::Convolution layer = MakeLayer(64, 128, 1, 1, 14, 8);  // Which every algorithm supports.
  const auto expect = [&](Precision precision, bool gated, Winograd winograd, const char* expected) {
    std::set<ConvolutionAlgorithm> algorithms;
    for (const cuda::Candidate& candidate :
         cuda::ListCandidates(layer, precision, 90, Allowed(precision, winograd, gated))) {
      algorithms.insert(AlgorithmOf(candidate.algorithm));
    }
    std::string got;
    for (const ConvolutionAlgorithm algorithm : algorithms) {
      got += (got.empty() ? "" : " ") + std::string(AlgorithmName(algorithm));
    }
    if (got == expected) return;
    Fail(std::string(PrecisionName(precision)) + (gated ? ", gated, " : ", ") + WinogradName(winograd) +
         ": " + got);
  };
  for (const bool gated : {false, true}) {
    expect(Precision::kFp32, gated, Winograd::kAuto, gated ? "direct f2" : "direct f2 f4");
    for (const Precision precision : {Precision::kFp16, Precision::kBf16}) {
      expect(precision, gated, Winograd::kAuto, "direct f2");
    }
    for (const Precision precision : {Precision::kFp32, Precision::kFp16, Precision::kBf16}) {
      expect(precision, gated, Winograd::kOff, "direct");
      expect(precision, gated, Winograd::kF2, "direct f2");
      expect(precision, gated, Winograd::kF4, "direct f2 f4");
    }
    for (const Precision precision : {Precision::kTf32, Precision::kFp8}) {
      for (const Winograd winograd : {Winograd::kAuto, Winograd::kOff, Winograd::kF2, Winograd::kF4}) {
        expect(precision, gated, winograd, "direct");
      }
    }
  }
}

TEST("chooser: a tile must fit into the shared memory of its device") {
  const cuda::Convolution layer = MakeLayer(64, 128, 1, 1, 14, 8);
  const size_t all = cuda::ListCandidates(layer, Precision::kFp32, 90, {}).size();
  const std::vector<cuda::Candidate> turing = cuda::ListCandidates(layer, Precision::kFp32, 75, {});
  // F(2x2) takes 96 KB, and Turing has 64.
  for (const cuda::Candidate& candidate : turing) {
    if (candidate.algorithm == cuda::Algorithm::kWinogradF2) Fail(candidate.name);
  }
  if (turing.empty() || turing.size() >= all) Fail("Turing should have some of the tiles");
}

TEST("chooser: F(4x4) is only where it is pinned or measured") {
  const cuda::Convolution layer = MakeLayer(64, 128, 1, 1, 14, 8);
  const auto is_f4 = [](const cuda::Candidate& candidate) {
    return candidate.algorithm == cuda::Algorithm::kWinogradF4;
  };
  const auto all = cuda::ListCandidates(layer, Precision::kFp32, 90, {});
  if (is_f4(cuda::EstimateBest(all, layer, Precision::kFp32, 132))) Fail("it was estimated");
  const auto pinned = cuda::ListCandidates(layer, Precision::kFp32, 90, Pinned(ConvolutionAlgorithm::kF4));
  if (pinned.empty() || !std::all_of(pinned.begin(), pinned.end(), is_f4)) Fail("others beside the pinned");
  const cuda::Convolution strided = MakeLayer(64, 128, 2, 1, 14, 8);
  if (cuda::ListCandidates(strided, Precision::kFp32, 90, Pinned(ConvolutionAlgorithm::kF4)).empty()) {
    Fail("nothing where the pinned algorithm does not apply");
  }
}

// By part of the name.
int CountCandidates(const cuda::Convolution& layer, int architecture, const char* part) {
  const auto all = cuda::ListCandidates(layer, Precision::kFp16, architecture, Allowed(Precision::kFp16));
  return static_cast<int>(std::count_if(all.begin(), all.end(), [&](const cuda::Candidate& candidate) {
    return candidate.name.find(part) != std::string::npos;
  }));
}

TEST("chooser: multicast is for layers that give both blocks a tile, and only measured") {
  const cuda::Convolution stage3 = MakeLayer(384, 384, 1, 1, 14, 32);
  for (const char* const name :
       {"sm90a multicast pixels 256x96", "sm90a multicast weights 128x192", "f2 chain sm90a multicast"}) {
    if (CountCandidates(stage3, 90, name) == 0) Fail(std::string("no ") + name);
    if (CountCandidates(stage3, 80, name) > 0) Fail(std::string("sm_80 has ") + name);
  }
  // 96 channels are one tile of 256 x 96, and one image's 196 pixels too.
  if (CountCandidates(MakeLayer(96, 96, 1, 1, 14, 32), 90, "multicast pixels 256x96") > 0) {
    Fail("one tile of channels has pixels for two");
  }
  if (CountCandidates(MakeLayer(384, 384, 1, 1, 14), 90, "multicast weights 256") > 0) {
    Fail("one tile of pixels has weights for two");
  }
  auto all = cuda::ListCandidates(stage3, Precision::kFp16, 90, {});
  const auto is_multicast = [](const cuda::Candidate& candidate) {
    return candidate.name.find("multicast") != std::string::npos;
  };
  std::stable_partition(all.begin(), all.end(),
                        is_multicast);  // The first of two that are equally fast is taken.
  const cuda::Candidate& best = cuda::EstimateBest(all, stage3, Precision::kFp16, 132);
  if (is_multicast(best)) Fail(best.name + " was estimated");
}

TEST(
    "chooser: reductions are split where tiles are few, in a cluster without a workspace, and only "
    "measured") {
  const cuda::Convolution one = MakeLayer(384, 384, 1, 1, 14), many = MakeLayer(384, 384, 1, 1, 14, 128);
  for (const char* const name : {"sm90a split 4 ping-pong 64x64", "sm90a cluster 4 ping-pong 64x64",
                                 "sm90a cluster 8 256x96", "sm90a split 9 256x96"}) {
    if (CountCandidates(one, 90, name) != 1) Fail(std::string("no ") + name);
  }
  // More blocks than there are in a cluster, and parts that do not fit where the stages are.
  for (const char* const name : {"sm90a cluster 9", "sm90a cluster 8 256x192"}) {
    if (CountCandidates(one, 90, name) > 0) Fail(name);
  }
  for (const char* const name : {"sm90a split", "sm90a cluster"}) {
    if (CountCandidates(many, 90, name) > 0) Fail(std::string(name) + " of many tiles");
  }
  const auto all = cuda::ListCandidates(one, Precision::kFp16, 90, {});
  for (const cuda::Candidate& candidate : all) {
    const bool by_memory = candidate.parts.count > 1 && !candidate.parts.in_cluster;
    if (candidate.algorithm == cuda::Algorithm::kDirectSm90a &&
        (WorkspaceBytes(one, candidate) > 0) != by_memory) {
      Fail(candidate.name + " has the wrong workspace");
    }
  }
  const cuda::Candidate& best = cuda::EstimateBest(all, one, Precision::kFp16, 132);
  if (best.parts.count > 1) Fail(best.name + " was estimated");
}

TEST("chooser: chains in slices are for large batches on GPUs with a large L2") {
  const cuda::Convolution small = MakeLayer(384, 384, 1, 1, 14, 8),
                          large = MakeLayer(384, 384, 1, 1, 14, 128);
  ExpectEqual(std::to_string(CountCandidates(small, 90, "by 16 MB")), "0");
  ExpectEqual(std::to_string(CountCandidates(large, 86, "by 16 MB")), "0");
  const int tiles = CountCandidates(large, 90, "f2 chain") / 2;
  ExpectEqual(std::to_string(CountCandidates(large, 90, "by 16 MB")), std::to_string(tiles));
}

TEST("chooser: the first two layers in one kernel where that measures faster, or is pinned") {
  cuda::Stem stem;
  stem.batch = 8;
  stem.height = stem.width = 28;
  stem.out_channels = 64;
  cuda::Convolution layer = MakeLayer(64, 96, 2, 1, 14, 8);
  layer.stem = &stem;
  const auto choose = [&](double fused, std::optional<ConvolutionAlgorithm> pinned = {},
                          Precision precision = Precision::kFp16) {
    cuda::MeasureLayer measure;
    if (fused > 0) {
      measure = [=](const cuda::Convolution& of, const cuda::Candidate& candidate) {
        if (candidate.algorithm == cuda::Algorithm::kStemFused) return std::optional(fused);
        return std::optional(of.stem != nullptr ? 5.0 : 3.0);
      };
    }
    AllowedAlgorithms allowed = Allowed(precision);
    allowed.pinned = pinned;
    cuda::Chooser chooser(EmulatedDevice(), precision, allowed, "", std::move(measure));
    const cuda::Choice* const choice = chooser.ChooseFirstTwo(layer);
    if (choice == nullptr) return std::string("none");
    // The separate one's tile is of no interest here.
    return choice->source + (' ' + choice->candidate.name.substr(0, 9)) + ' ' + ToJson(choice->timings);
  };
  cuda::Convolution alone = layer;
  alone.stem = nullptr;
  cuda::Chooser others(EmulatedDevice(), Precision::kFp16, Allowed(Precision::kFp16), "",
                       [](const cuda::Convolution&, const cuda::Candidate&) { return std::optional(3.0); });
  const std::string separate = "stem, " + others.Choose(alone).candidate.name;
  ExpectEqual(choose(4), "measured fused 64x {\"" + separate + "\": 5, \"fused 64x96\": 4}");
  ExpectEqual(choose(6), "measured stem, dir {\"" + separate + "\": 5, \"fused 64x96\": 6}");
  ExpectEqual(choose(0).substr(0, 19), "estimated stem, dir");
  ExpectEqual(choose(0, ConvolutionAlgorithm::kFused), "estimated fused 64x {}");
  ExpectEqual(choose(4, ConvolutionAlgorithm::kDirect), "none");
  ExpectEqual(choose(4, {}, Precision::kTf32), "none");
  setenv("REPVGG_EXCLUDE", "fused", 1);
  ExpectEqual(choose(4), "none");
  unsetenv("REPVGG_EXCLUDE");
}

TEST("chooser: measures once, remembers on disk, and falls back on an estimate") {
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("repvgg-chooser-" + std::to_string(getpid()));
  const cuda::Convolution layer = MakeLayer(64, 128, 1, 1, 14, 8);
  const std::vector<cuda::Candidate> candidates =
      cuda::ListCandidates(layer, Precision::kFp16, 80, Allowed(Precision::kFp16));
  const std::string fastest = candidates[candidates.size() / 2].name;
  int measured = 0;
  const cuda::MeasureLayer measure = [&](const cuda::Convolution&, const cuda::Candidate& candidate) {
    ++measured;
    return candidate.name == candidates[0].name ? std::nullopt
                                                : std::optional(candidate.name == fastest ? 2.5 : 7.0);
  };
  const AllowedAlgorithms automatic = Allowed(Precision::kFp16), f2 = Pinned(ConvolutionAlgorithm::kF2);
  const auto choose = [&](const cuda::DeviceTraits& device, const AllowedAlgorithms& allowed,
                          cuda::MeasureLayer with) {
    cuda::Chooser chooser(device, Precision::kFp16, allowed, directory, std::move(with));
    const cuda::Choice choice = chooser.Choose(layer);
    return std::string(choice.source) + ' ' + choice.candidate.name;
  };
  ExpectEqual(choose(EmulatedDevice(), automatic, measure), "measured " + fastest);
  if (measured != static_cast<int>(candidates.size())) Fail("every candidate should be measured once");
  ExpectEqual(choose(EmulatedDevice(), automatic, nullptr), "cached " + fastest);
  ExpectEqual(choose(EmulatedDevice(), automatic, measure), "cached " + fastest);
  // What could not be measured is tried again: it may have been for want of memory.
  if (measured != static_cast<int>(candidates.size()) + 1) Fail("a cached layer should not be measured");

  // What was measured while an algorithm was pinned does not hide the others later.
  cuda::DeviceTraits other = EmulatedDevice();
  other.name = "Another";
  choose(other, f2, measure);
  ExpectEqual(choose(other, automatic, measure), "measured " + fastest);

  // Another driver may have another compiler; its measurements are its own.
  cuda::DeviceTraits newer = EmulatedDevice();
  ++newer.driver_version;
  ExpectEqual(choose(newer, automatic, nullptr).substr(0, 9), "estimated");
  // A pinned algorithm is a choice among its tiles.
  ExpectEqual(choose(EmulatedDevice(), f2, nullptr).substr(0, 9), "cached f2");

  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::filesystem::path file = entry.path();
    std::ifstream in(file);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    std::ofstream(file) << text.substr(0, text.size() * 2 / 3);
  }
  const std::string torn = choose(EmulatedDevice(), automatic, nullptr);
  if (torn.find("cached") != 0 && torn.find("estimated") != 0) Fail(torn);
  for (const auto& entry : std::filesystem::directory_iterator(directory)) std::ofstream(entry.path()) << "{";
  ExpectEqual(choose(EmulatedDevice(), automatic, nullptr).substr(0, 9), "estimated");
  ExpectEqual(choose(EmulatedDevice(), automatic, measure), "measured " + fastest);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace repvgg::emulator
