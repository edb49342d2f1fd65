#include "cuda/chooser.h"

#include "engine/error.h"

namespace repvgg::cuda {
namespace {

// Includes the version: its kernels, and so its timings, are its own.
std::string Conditions(const DeviceTraits& device, Precision precision) {
  return "\"device\": \"" + JsonSafe(device.name) +
         "\", \"multiprocessors\": " + std::to_string(device.multiprocessors) +
         ", \"driver\": " + std::to_string(device.driver_version) +
         ", \"version\": \"" REPVGG_VERSION "\", \"precision\": \"" + PrecisionName(precision) + '"';
}

std::string Key(const Convolution& layer) {
  return LayerKey(layer.batch, layer.height, layer.width, layer.in_channels, layer.out_channels, layer.stride,
                  layer.groups);
}

}  // namespace

Chooser::Chooser(DeviceTraits device, Precision precision, const AllowedAlgorithms& allowed,
                 const std::string& directory, MeasureLayer measure)
    : device_(std::move(device)),
      precision_(precision),
      allowed_(allowed),
      timings_(directory, "cuda", Conditions(device_, precision)),
      unused_measure_(std::move(measure)),
      measure_(unused_measure_) {}

const Choice& Chooser::Choose(const Convolution& layer) {
  const std::string key = Key(layer);
  const auto known = choices_.find(key);
  if (known != choices_.end()) return known->second;

  const std::vector<Candidate> candidates = ListCandidates(layer, precision_, device_.architecture, allowed_);
  if (candidates.empty()) {
    throw Error("ERR_PRECISION_UNSUPPORTED",
                "The " + device_.name + " cannot run convolutions of " + std::to_string(layer.group_in()) +
                    " to " + std::to_string(layer.group_out()) + " channels in " + PrecisionName(precision_) +
                    ": use \"" + (precision_ == Precision::kFp8 ? "fp16" : "fp32") + "\".");
  }
  const size_t estimated =
      &EstimateBest(candidates, layer, precision_, device_.multiprocessors) - candidates.data();
  return ChooseAmong(key, layer, candidates, estimated);
}

const Choice* Chooser::ChooseFirstTwo(const Convolution& layer) {
  Convolution alone = layer;
  alone.stem = nullptr;
  const std::vector<Candidate> candidates =
      ListFirstTwo(layer, Choose(alone).candidate, precision_, device_.architecture, allowed_.pinned);
  if (candidates.size() == 1 && candidates[0].algorithm != Algorithm::kStemFused) return nullptr;
  const std::string key = Key(layer) + " from pixels";
  const auto known = choices_.find(key);
  // The fused kernel is not chosen without a measurement, unless it is the only candidate.
  return known != choices_.end() ? &known->second : &ChooseAmong(key, layer, candidates, 0);
}

const Choice& Chooser::ChooseAmong(const std::string& key, const Convolution& layer,
                                   const std::vector<Candidate>& candidates, size_t estimated) {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates) names.push_back(candidate.name);
  Timings::Measure measure;
  if (measure_) measure = [&](size_t candidate) { return measure_(layer, candidates[candidate]); };
  Pick pick = timings_.Choose(key, names, estimated, measure);
  return choices_.emplace(key, Choice{candidates[pick.candidate], pick.source, std::move(pick.timings)})
      .first->second;
}

}  // namespace repvgg::cuda
