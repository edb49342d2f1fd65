#include "engine/timings.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

namespace repvgg {
namespace {

// How much slower than the fastest the estimated candidate may be and still be chosen: about the variation
// between measurements on a busy machine.
constexpr double kNearly = 1.05;

std::string Hash(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

uint64_t Random64() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

// Reads the lines that Save writes, and nothing else:
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

std::optional<double> Find(const std::vector<Timing>& timings, const std::string& candidate) {
  const auto timing = std::ranges::find(timings, candidate, &Timing::candidate);
  if (timing == timings.end()) return std::nullopt;
  return timing->microseconds;
}

// Nothing if there is no timing for any of the candidates.
std::optional<size_t> Fastest(const std::vector<std::string>& candidates, const std::vector<Timing>& timings,
                              size_t estimated) {
  const auto time_of = [&](const std::string& candidate) { return Find(timings, candidate); };
  std::optional<size_t> best;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto time = time_of(candidates[i]);
    if (time && (!best || *time < *time_of(candidates[*best]))) best = i;
  }
  const auto estimate = time_of(candidates[estimated]);
  return best && estimate && *estimate <= kNearly * *time_of(candidates[*best]) ? estimated : best;
}

}  // namespace

Timings::Timings(const std::string& directory, const std::string& prefix, std::string conditions)
    : conditions_(std::move(conditions)) {
  if (directory.empty()) return;
  file_ = directory + '/' + prefix + '-' + Hash(conditions_) + ".json";
  Load();
}

Pick Timings::Choose(const std::string& layer, const std::vector<std::string>& candidates, size_t estimated,
                     const Measure& measure) {
  const auto complete = [&] {
    return std::ranges::all_of(
        candidates, [&](const std::string& name) { return Find(measured_[layer], name).has_value(); });
  };
  // Another process, or a thread for another GPU, may have written new measurements since the file was read.
  if (measure && !complete()) Load();
  std::vector<Timing>& timings = measured_[layer];
  bool measured = false;
  for (size_t i = 0; i < candidates.size() && measure; ++i) {
    if (Find(timings, candidates[i])) continue;
    if (const auto time = measure(i)) {
      timings.push_back({candidates[i], *time});
      measured = true;
    }
  }
  if (measured) Save();
  const auto best = Fastest(candidates, timings, estimated);
  if (!best) return {estimated, "estimated", {}};
  return {*best, measured ? "measured" : "cached", timings};
}

void Timings::Load() {
  std::ifstream in(file_);
  std::string line;
  if (!std::getline(in, line) || line != "{" + conditions_ + ", \"microseconds\": {") return;
  while (std::getline(in, line)) {
    const size_t middle = line.find("\": {");
    // In a file that is cut off, the last number may be part of one.
    const bool whole = line.ends_with('}') || line.ends_with("},");
    if (!whole || line[0] != '"' || middle == std::string::npos) continue;
    const std::vector<Timing> timings = ParseTimings(line.substr(middle + 3));
    if (!timings.empty()) measured_[line.substr(1, middle - 1)] = timings;
  }
}

// Failures are ignored: the next process then measures again.
void Timings::Save() const {
  if (file_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(file_).parent_path(), ignored);
  // Not named by the process: in containers that share a cache, process ids are often the same.
  const std::string unfinished = file_ + "." + std::to_string(Random64());
  std::ofstream out(unfinished, std::ios::trunc);
  out << "{" << conditions_ << ", \"microseconds\": {";
  const char* separator = "\n";
  for (const auto& [key, timings] : measured_) {
    if (timings.empty()) continue;
    out << separator << '"' << key << "\": " << ToJson(timings);
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

std::string JsonSafe(std::string text) {
  std::erase_if(text, [](unsigned char c) { return c < ' ' || c == '"' || c == '\\'; });
  return text;
}

std::string ToJson(const std::vector<Timing>& timings) {
  std::string text = "{";
  for (const Timing& timing : timings) {
    char number[32];
    std::snprintf(number, sizeof number, "%g", timing.microseconds);
    text += (text.size() > 1 ? ", \"" : "\"") + timing.candidate + "\": " + number;
  }
  return text + '}';
}

std::string LayerKey(int images, int height, int width, int in_channels, int out_channels, int stride,
                     int groups) {
  return std::to_string(images) + 'x' + std::to_string(height) + 'x' + std::to_string(width) + ' ' +
         std::to_string(in_channels) + "->" + std::to_string(out_channels) + " stride " +
         std::to_string(stride) + " groups " + std::to_string(groups);
}

}  // namespace repvgg
