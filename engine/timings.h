// Choosing among the ways to compute a layer by measuring each, once per machine and shape: a file remembers.
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

// Which of some candidates to use, and why.
struct Pick {
  size_t candidate = 0;              // Its index.
  const char* source = "estimated";  // Or "measured", now, or "cached": measured by an earlier process.
  std::vector<Timing> timings;       // The evidence; none for an estimate.
};

class Timings {
 public:
  // `directory` holds the files; empty for none. `conditions` are what a measurement depends on besides the
  // layer, as members of a JSON object; each has a file of its own, whose name begins with `prefix`.
  Timings(const std::string& directory, const std::string& prefix, std::string conditions);

  // The time of one run of a candidate in microseconds; nothing where it cannot be measured, for want of
  // memory, say.
  using Measure = std::function<std::optional<double>(size_t candidate)>;

  // The fastest candidate for a layer, or, where its time is nearly that, the estimated one: then measuring
  // again gives the same. Without `measure`, what no file knows is estimated.
  Pick Choose(const std::string& layer, const std::vector<std::string>& candidates, size_t estimated,
              const Measure& measure);

 private:
  void Load();
  void Save() const;

  std::string conditions_;
  std::string file_;                                     // Empty: none.
  std::map<std::string, std::vector<Timing>> measured_;  // Everything the file holds, by layer.
};

// $REPVGG_CACHE_DIR, else $XDG_CACHE_HOME/repvgg, else ~/.cache/repvgg; empty when none is set.
std::string CacheDirectory();

// `text` without what would end a JSON string.
std::string JsonSafe(std::string text);

// "direct 128x64": microseconds, ... in braces.
std::string ToJson(const std::vector<Timing>& timings);

// "128x56x56 48->96 stride 2 groups 1": images, height and width of the input, channels.
std::string LayerKey(int images, int height, int width, int in_channels, int out_channels, int stride,
                     int groups);

}  // namespace repvgg
