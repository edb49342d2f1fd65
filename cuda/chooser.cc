#include "cuda/chooser.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/error.h"

namespace repvgg::cuda {
namespace {

// Another version's kernels are others, with other times.
constexpr const char* kVersion = REPVGG_VERSION;

std::string Hash(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

// The lines of a cache file are written by Save and read back only if they look exactly so:
//   "LAYER": {"candidate": microseconds, ...},
std::vector<Timing> ParseTimings(const std::string& text) {
  std::vector<Timing> timings;
  for (size_t at = 0; (at = text.find('"', at)) != std::string::npos;) {
    const size_t end = text.find("\": ", at + 1);
    if (end == std::string::npos) return {};
    const double microseconds = std::strtod(text.c_str() + end + 3, nullptr);
    if (!(microseconds > 0)) return {};
    timings.push_back({text.substr(at + 1, end - at - 1), microseconds});
    at = end + 3;
  }
  return timings;
}

// The fastest candidate; the first one in case of a tie. Null if the timings are not those of the candidates.
const Candidate* Fastest(const std::vector<Candidate>& candidates, const std::vector<Timing>& timings) {
  const Candidate* best = nullptr;
  double least = 0;
  for (const Candidate& candidate : candidates) {
    const auto timing = std::find_if(timings.begin(), timings.end(),
                                     [&](const Timing& t) { return t.candidate == candidate.name; });
    if (timing == timings.end()) continue;
    if (best == nullptr || timing->microseconds < least) best = &candidate, least = timing->microseconds;
  }
  return best;
}

}  // namespace

Chooser::Chooser(DeviceTraits device, Precision precision, std::string algorithm, std::string directory,
                 MeasureLayer measure)
    : device_(std::move(device)),
      precision_(precision),
      algorithm_(std::move(algorithm)),
      measure_(std::move(measure)) {
  if (directory.empty()) return;
  file_ = directory + "/cuda-" + Hash(Header()) + ".json";
  Load();
}

const Choice& Chooser::Choose(const Convolution& layer) {
  const std::string key = LayerKey(layer);
  const auto known = choices_.find(key);
  if (known != choices_.end()) return known->second;

  const std::vector<Candidate> candidates =
      ListCandidates(layer, precision_, device_.architecture, algorithm_);
  if (candidates.empty()) {
    throw Error("ERR_PRECISION_UNSUPPORTED", "The " + device_.name + " cannot run convolutions of " +
                                                 std::to_string(layer.group_in()) + " to " +
                                                 std::to_string(layer.group_out()) + " channels in " +
                                                 PrecisionName(precision_) + ": use \"fp32\".");
  }
  Choice choice;
  std::vector<Timing>& timings = measured_[key];
  const Candidate* best = Fastest(candidates, timings);
  choice.source = "cached";
  if (best == nullptr && measure_) {
    for (const Candidate& candidate : candidates) {
      if (const auto time = measure_(layer, candidate)) timings.push_back({candidate.name, *time});
    }
    best = Fastest(candidates, timings);
    choice.source = "measured";
    if (best != nullptr) Save();
  }
  if (best == nullptr) {
    best = &EstimateBest(candidates, layer, precision_, device_.multiprocessors);
    choice.source = "estimated";
  }
  choice.candidate = *best;
  choice.timings = timings;
  return choices_.emplace(key, std::move(choice)).first->second;
}

std::string Chooser::Header() const {
  std::string name = device_.name;
  std::erase_if(name, [](unsigned char c) { return c < ' ' || c == '"' || c == '\\'; });
  return std::string("\"device\": \"") + name +
         "\", \"multiprocessors\": " + std::to_string(device_.multiprocessors) +
         ", \"driver\": " + std::to_string(device_.driver_version) + ", \"version\": \"" + kVersion +
         "\", \"precision\": \"" + PrecisionName(precision_) + "\"";
}

void Chooser::Load() {
  std::ifstream in(file_);
  std::string line;
  if (!std::getline(in, line) || line != std::string("{") + Header() + ", \"microseconds\": {") return;
  while (std::getline(in, line)) {
    const size_t middle = line.find("\": {");
    if (line.empty() || line[0] != '"' || middle == std::string::npos) continue;
    const std::vector<Timing> timings = ParseTimings(line.substr(middle + 3));
    if (!timings.empty()) measured_[line.substr(1, middle - 1)] = timings;
  }
}

// A cache that cannot be written only costs the next process its time.
void Chooser::Save() const {
  if (file_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(file_).parent_path(), ignored);
  const std::string unfinished = file_ + "." + std::to_string(getpid());
  std::ofstream out(unfinished, std::ios::trunc);
  out << "{" << Header() << ", \"microseconds\": {";
  const char* separator = "\n";
  for (const auto& [key, timings] : measured_) {
    if (timings.empty()) continue;
    out << separator << '"' << key << "\": {";
    for (size_t i = 0; i < timings.size(); ++i) {
      out << (i ? ", " : "") << '"' << timings[i].candidate << "\": " << timings[i].microseconds;
    }
    out << '}';
    separator = ",\n";
  }
  out << "\n}}\n";
  out.close();
  if (out) std::filesystem::rename(unfinished, file_, ignored);
  std::filesystem::remove(unfinished, ignored);
}

std::string CacheDirectory() {
  const auto variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string own = variable("REPVGG_CACHE_DIR"); !own.empty()) return own;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg + "/repvgg";
  if (const std::string home = variable("HOME"); !home.empty()) return home + "/.cache/repvgg";
  return "";
}

std::string LayerKey(const Convolution& layer) {
  return std::to_string(layer.batch) + 'x' + std::to_string(layer.height) + 'x' +
         std::to_string(layer.width) + ' ' + std::to_string(layer.in_channels) + "->" +
         std::to_string(layer.out_channels) + " stride " + std::to_string(layer.stride) + " groups " +
         std::to_string(layer.groups);
}

}  // namespace repvgg::cuda
