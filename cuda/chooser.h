// Chooses algorithm and tile of each layer: by measuring every candidate on the device, once per device and
// shape (engine/timings.h), or by an estimate where nothing can be measured.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cuda/candidates.h"
#include "engine/timings.h"

namespace repvgg::cuda {

// What a measurement depends on besides the layer.
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
  const char* source = nullptr;  // And the timings: see Pick.
  std::vector<Timing> timings;
};

// The time of one run in microseconds; nothing where the candidate cannot be measured, for want of memory,
// say.
using MeasureLayer = std::function<std::optional<double>(const Convolution&, const Candidate&)>;

class Chooser {
 public:
  // `algorithm` and `winograd` are those of BackendOptions. `directory` holds the cache files; empty for
  // none. Without `measure`, cached choices are used and others estimated. Copies of `measure` hold nothing
  // until they are called.
  Chooser(DeviceTraits device, Precision precision, std::string algorithm, const std::string& directory,
          MeasureLayer measure, WinogradClass winograd = WinogradClass::kAuto);

  // `layer.batch` is the batch to be fast at. The same layer always has the same answer.
  const Choice& Choose(const Convolution& layer);
  // Whether one kernel is to compute the first two layers, of which `layer` is the second, with its `stem`.
  // Null where nothing can be chosen.
  const Choice* ChooseFirstTwo(const Convolution& layer);
  // Frees what measuring holds until it goes on.
  void FreeMeasuring() {
    if (measure_) measure_ = unused_measure_;
  }
  // Frees it for good; layers that were not seen before are estimated from now on.
  void StopMeasuring() { measure_ = nullptr; }

 private:
  const Choice& ChooseAmong(const std::string& key, const Convolution& layer,
                            const std::vector<Candidate>& candidates, size_t estimated);

  DeviceTraits device_;
  Precision precision_;
  std::string algorithm_;
  WinogradClass winograd_;
  Timings timings_;
  const MeasureLayer unused_measure_;
  MeasureLayer measure_;
  std::map<std::string, Choice> choices_;
};

}  // namespace repvgg::cuda
