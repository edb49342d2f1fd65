// Chooses among implementations of a layer by timing each, once per machine and shape; a file caches the
// timings.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace repvgg {

struct Timing {
  std::string candidate;
  double microseconds = 0;
};

// The candidate to use, and why.
struct Pick {
  size_t candidate = 0;              // Its index.
  const char* source = "estimated";  // Or "measured" just now, or "cached": measured before.
  std::vector<Timing> timings;       // The measurements behind the choice; none for an estimate.
};

class Timings {
 public:
  // `directory` is where the files are; empty for no caching. `conditions` lists, as members of a JSON
  // object, what measurements depend on besides the layer; each distinct value has its own file, whose name
  // begins with `prefix`.
  Timings(const std::string& directory, const std::string& prefix, std::string conditions);

  // The time of one run of a candidate in microseconds; nothing where it cannot be measured, for example for
  // lack of memory.
  using Measure = std::function<std::optional<double>(size_t candidate)>;

  // The fastest candidate for a layer, or the estimated one where it is nearly as fast, so that repeated
  // measurements agree. Without `measure`, layers that are not cached get the estimated candidate.
  Pick Choose(const std::string& layer, const std::vector<std::string>& candidates, size_t estimated,
              const Measure& measure);

 private:
  void Load();
  void Save() const;

  std::string conditions_;
  std::string file_;                                     // Empty for no caching.
  std::map<std::string, std::vector<Timing>> measured_;  // Everything the file holds, by layer.
};

// $REPVGG_CACHE_DIR, else $XDG_CACHE_HOME/repvgg, else ~/.cache/repvgg; empty when none is set.
std::string CacheDirectory();

// `text` without the characters that a JSON string would have to escape.
std::string JsonSafe(std::string text);

// A JSON object {"candidate": microseconds, ...}.
std::string ToJson(const std::vector<Timing>& timings);

// "128x56x56 48->96 stride 2 groups 1": images, height and width of the input, channels.
std::string LayerKey(int images, int height, int width, int in_channels, int out_channels, int stride,
                     int groups);

}  // namespace repvgg
