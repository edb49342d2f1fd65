// Chooses the algorithm and tile of each layer: by measuring every candidate on the device, once per device
// and shape (engine/timings.h), or by an estimate where measuring is not possible.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cuda/candidates.h"
#include "engine/timings.h"

namespace repvgg::cuda {

// The properties of a device that measurements depend on.
struct DeviceTraits {
  int index = 0;
  std::string name;
  int architecture = 0;  // 90 for 9.0.
  int multiprocessors = 1;
  size_t l2_bytes = 0;
  int driver_version = 0;
  size_t workspace_bytes = kWorkspaceBytes;
};

struct Choice {
  Candidate candidate;
  const char* source = nullptr;  // Like `timings`: see Pick.
  std::vector<Timing> timings;
};

// The time of one run in microseconds; nothing if the candidate cannot be measured, for example for lack of
// memory.
using MeasureLayer = std::function<std::optional<double>(const Convolution&, const Candidate&)>;

class Chooser {
 public:
  // `directory` holds the cache files; empty for no cache. Without `measure`, choices that are not cached are
  // estimated. A copy of `measure` must hold no resources until it is called.
  Chooser(DeviceTraits device, Precision precision, const AllowedAlgorithms& allowed,
          const std::string& directory, MeasureLayer measure);

  // `layer.batch` is the batch size to optimise for. The same layer always gets the same choice.
  const Choice& Choose(const Convolution& layer);
  // Whether to fuse the first two layers; `layer` is the second, with its `stem`. Null if there is nothing to
  // choose.
  const Choice* ChooseFirstTwo(const Convolution& layer);
  // Frees the memory that measuring holds, until it continues.
  void FreeMeasuring() {
    if (measure_) measure_ = unused_measure_;
  }
  // Frees it for good: layers not seen before are estimated from now on.
  void StopMeasuring() { measure_ = nullptr; }

 private:
  const Choice& ChooseAmong(const std::string& key, const Convolution& layer,
                            const std::vector<Candidate>& candidates, size_t estimated);

  DeviceTraits device_;
  Precision precision_;
  AllowedAlgorithms allowed_;
  Timings timings_;
  const MeasureLayer unused_measure_;
  MeasureLayer measure_;
  std::map<std::string, Choice> choices_;
};

}  // namespace repvgg::cuda
