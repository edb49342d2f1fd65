// A layer on the device, and its results by one of the candidates.
#pragma once

#include "cuda/algorithm.h"
#include "test/emulator/maps.h"

namespace repvgg::emulator {

class DeviceLayer {
 public:
  DeviceLayer(const Layer& layer, const Problem& problem, Precision precision,
              const cuda::Candidate& candidate)
      : in_(precision, problem.in),
        out_(precision, static_cast<size_t>(layer.pixels()) * layer.out_channels,
             // The direct kernel of fp32 writes long sums in parts.
             precision == Precision::kFp32 && candidate.algorithm == cuda::Algorithm::kDirect &&
                     layer.group_in() * 9 > 1024
                 ? Contents::kScratch
                 : Contents::kOutput),
        weight_(PackConvolution(layer, problem.weight.data(), precision, candidate.algorithm)),
        workspace_(WorkspaceBytes(layer, candidate), Contents::kScratch),
        bias_(problem.bias),
        layer_(layer) {
    layer_.in = in_.data();
    layer_.weight = weight_.data();
    layer_.bias = bias_.data();
    layer_.out = out_.data();
    layer_.workspace = workspace_.data();
  }

  const Layer& layer() const { return layer_; }
  std::vector<double> Values() const {
    if (CountUnwritten(out_.data()) != 0) Fail("outputs were not written");
    return out_.Values();
  }

 private:
  Maps in_, out_;
  DeviceArray<unsigned char> weight_, workspace_;
  DeviceArray<float> bias_;
  Layer layer_;
};

inline void Launch(const Layer& layer, Precision precision, const cuda::Candidate& candidate) {
  if (LaunchConvolution(layer, precision, candidate, nullptr) != cudaSuccess) Fail("not launched");
}

inline std::vector<double> Run(const Layer& layer, const Problem& problem, Precision precision,
                               const cuda::Candidate& candidate) {
  const DeviceLayer device(layer, problem, precision, candidate);
  Launch(device.layer(), precision, candidate);
  return device.Values();
}

// Against float64.
inline void RunWithin(const Layer& layer, Precision precision, const cuda::Candidate& candidate,
                      Distance bound) {
  const Problem problem = MakeProblem(layer, RoundTo(precision));
  ExpectWithin(Compare(Run(layer, problem, precision, candidate), problem.expected), bound);
}

}  // namespace repvgg::emulator
