// Small networks for the tests of the backend as a whole: random parameters, what they give in float64, and
// how they run.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "cuda/cuda_network.h"
#include "cuda/gemm_sm90a.h"
#include "test/emulator/maps.h"
#include "test/emulator/ranking.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {

// A small network with everything: odd sizes, groups, channels that fill no 16 bytes.
NetworkShape MakeShape(Form form, SqueezeExcitePosition position);

// Random parameters, and the network in float64.
class Reference {
 public:
  explicit Reference(NetworkShape shape);

  const NetworkShape& shape() const { return shape_; }
  void Load(Network& network) const;
  // Computes as fp8 does from here on, with ranges of these images; not of the train form.
  void Quantize(const std::vector<uint8_t>& pixels);
  std::vector<double> Embedding(const uint8_t* pixels) const;
  std::vector<double> Logits(const uint8_t* pixels) const;

 private:
  Floats Normal(int count, double deviation);
  Floats Positive(int count);
  BatchNorm MakeNorm(int channels);
  std::vector<double> Normalized(const uint8_t* pixels) const;
  std::vector<double> RunBlock(size_t index, const std::vector<double>& in, int& height, int& width) const;

  NetworkShape shape_;
  bool fp8_ = false;
  std::deque<std::vector<float>> values_;
  std::vector<TrainBlock> blocks_;
  Linear linear_;
};

// The bounds of whole networks on logits.
Distance NetworkBound(Precision precision);
void CheckLogits(const Reference& reference, const std::vector<uint8_t>& pixels,
                 const std::vector<float>& logits, const Distance& bound);

std::vector<uint8_t> RandomImages(const NetworkShape& shape, int count);

cuda::DeviceTraits EmulatedDevice(int architecture = 80);
std::unique_ptr<cuda::CudaNetwork> MakeNetwork(const Reference& reference, Precision precision,
                                               int batch_size,
                                               std::optional<ConvolutionAlgorithm> pinned = {},
                                               int architecture = 80, cuda::MeasureLayer measure = nullptr,
                                               size_t workspace_bytes = cuda::kWorkspaceBytes);
std::unique_ptr<cuda::CudaNetwork> MakeNetwork(const Reference& reference, const BackendOptions& options,
                                               int architecture = 80, cuda::MeasureLayer measure = nullptr,
                                               size_t workspace_bytes = cuda::kWorkspaceBytes);

// Takes back what a test has set, at its end.
struct RestoreRuntime {
  ~RestoreRuntime() {
    runtime_settings() = {};
    cudaSetDevice(0);  // Which is then no longer lost.
  }
};

inline bool Never() { return false; }
// Runs and waits for the end. Throws what the run ends with.
std::vector<float> RunNetwork(Network& network, const std::vector<uint8_t>& pixels,
                              Output output = Output::kLogits, const Cancelled& cancelled = Never);
Ranking RankNetwork(Network& network, const std::vector<uint8_t>& pixels, int k);

// How far ahead of a tile the one of its shape without multicast is in their table.
int AheadOf(const cuda::GemmSm90aTile& tile);

// The code of the Error that `work` throws, or "no error".
std::string CodeOf(const std::function<void()>& work);
void ExpectEqual(const std::string& got, const std::string& expected);

}  // namespace repvgg::emulator
