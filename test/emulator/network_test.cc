// The CUDA backend as a whole, on the emulated runtime: networks of every form and precision against float64,
// and what happens when memory or the device fails.
#include <cmath>
#include <deque>
#include <filesystem>
#include <fstream>

#include "cuda/cuda_network.h"
#include "engine/error.h"
#include "test/emulator/layers.h"
#include "test/emulator/maps.h"
#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

using cuda::Precision;

// A small network with everything: odd sizes, groups, channels that fill no 16 bytes.
NetworkShape MakeShape(Form form, SqueezeExcitePosition position) {
  NetworkShape shape;
  shape.form = form;
  shape.squeeze_excite = position;
  const int squeeze = position == SqueezeExcitePosition::kNone ? 0 : 5;
  shape.blocks = {{3, 16, 2, 1, false, squeeze},  {16, 16, 1, 1, true, squeeze},
                  {16, 32, 2, 1, false, squeeze}, {32, 32, 1, 2, true, squeeze},
                  {32, 48, 2, 1, false, squeeze}, {48, 48, 1, 4, true, squeeze},
                  {48, 48, 1, 1, true, squeeze},  {48, 26, 2, 1, false, squeeze}};
  shape.num_classes = 7;
  shape.height = 37;
  shape.width = 30;
  shape.mean = {0.485f, 0.456f, 0.406f};
  shape.stddev = {0.229f, 0.224f, 0.225f};
  return shape;
}

// Random parameters, and the network in float64.
class Reference {
 public:
  explicit Reference(NetworkShape shape) : shape_(std::move(shape)) {
    for (const BlockShape& block : shape_.blocks) {
      const int in = block.in_channels / block.groups, out = block.out_channels;
      const bool train = shape_.form == Form::kTrain;
      TrainBlock own;
      own.dense = {Normal(out * in * 9, std::sqrt(2.0 / 9 / in)), Normal(out, 0.1),
                   MakeNorm(train ? out : 0)};
      if (train) own.pointwise = {Normal(out * in, std::sqrt(1.0 / in)), {}, MakeNorm(out)};
      if (train && block.identity) own.identity = MakeNorm(out);
      if (block.squeeze_channels > 0) {
        const int squeezed = block.squeeze_channels;
        own.squeeze_excite = {Normal(squeezed * out, 0.5), Normal(squeezed, 0.1), Normal(out * squeezed, 0.5),
                              Normal(out, 0.5)};
      }
      blocks_.push_back(own);
    }
    linear_ = {Normal(shape_.num_classes * shape_.embedding_channels(), 0.2), Normal(shape_.num_classes, 1)};
  }

  const NetworkShape& shape() const { return shape_; }

  void Load(cuda::CudaNetwork& network) const {
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const TrainBlock& block = blocks_[i];
      if (shape_.form == Form::kTrain) {
        network.SetBlock(i, block);
      } else {
        network.SetBlock(i, DeployBlock{block.dense.weight, block.dense.bias, block.squeeze_excite});
      }
    }
    if (shape_.num_classes > 0) network.SetLinear(linear_);
  }

  std::vector<double> Embedding(const uint8_t* pixels) const {
    int height = shape_.height, width = shape_.width;
    std::vector<double> map(static_cast<size_t>(height) * width * 3);
    for (size_t i = 0; i < map.size(); ++i) {
      map[i] = (pixels[i] / 255.0 - shape_.mean[i % 3]) / shape_.stddev[i % 3];
    }
    for (size_t i = 0; i < blocks_.size(); ++i) map = RunBlock(i, map, height, width);
    return Pool(map, shape_.embedding_channels());
  }

  std::vector<double> Logits(const uint8_t* pixels) const {
    return Multiply(linear_.weight, linear_.bias, Embedding(pixels));
  }

 private:
  Floats Normal(int count, double deviation) {
    return values_.emplace_back(RandomNormal(count, deviation, 100 + values_.size()));
  }
  Floats Positive(int count) {
    std::vector<float> values = RandomNormal(count, 0.3, 100 + values_.size());
    for (float& value : values) value = 0.4f + std::abs(value);
    return values_.emplace_back(std::move(values));
  }
  BatchNorm MakeNorm(int channels) {
    if (channels == 0) return {};
    return {Positive(channels), Normal(channels, 0.2), Normal(channels, 0.2), Positive(channels), 1e-5};
  }

  static std::vector<double> Pool(const std::vector<double>& map, int channels) {
    std::vector<double> mean(channels);
    for (size_t i = 0; i < map.size(); ++i) mean[i % channels] += map[i] * channels / map.size();
    return mean;
  }
  static std::vector<double> Multiply(Floats weight, Floats bias, const std::vector<double>& in) {
    std::vector<double> out(bias.begin(), bias.end());
    for (size_t i = 0; i < weight.size(); ++i) out[i / in.size()] += weight[i] * in[i % in.size()];
    return out;
  }
  static void AddNormalized(const BatchNorm& norm, const std::vector<double>& in, std::vector<double>& sum) {
    const size_t channels = norm.gamma.size();
    for (size_t i = 0; i < in.size(); ++i) {
      const size_t c = i % channels;
      sum[i] +=
          (in[i] - norm.mean[c]) / std::sqrt(norm.variance[c] + norm.eps) * norm.gamma[c] + norm.beta[c];
    }
  }

  static std::vector<double> Convolve(const BlockShape& block, int size, Floats weight, Floats bias,
                                      const std::vector<double>& in, int height, int width) {
    const int group_in = block.in_channels / block.groups, group_out = block.out_channels / block.groups;
    const int out_height = (height + block.stride - 1) / block.stride;
    const int out_width = (width + block.stride - 1) / block.stride;
    std::vector<double> out(static_cast<size_t>(out_height) * out_width * block.out_channels);
    for (size_t i = 0; i < out.size(); ++i) {
      const int k = i % block.out_channels, x = i / block.out_channels % out_width;
      const int y = i / block.out_channels / out_width, first = k / group_out * group_in;
      double sum = bias.empty() ? 0 : bias[k];
      for (int tap = 0; tap < size * size; ++tap) {
        const int from_y = y * block.stride + tap / size - size / 2;
        const int from_x = x * block.stride + tap % size - size / 2;
        if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width) continue;
        for (int c = 0; c < group_in; ++c) {
          sum += in[(static_cast<size_t>(from_y) * width + from_x) * block.in_channels + first + c] *
                 weight[(k * group_in + c) * size * size + tap];
        }
      }
      out[i] = sum;
    }
    return out;
  }

  std::vector<double> RunBlock(size_t index, const std::vector<double>& in, int& height, int& width) const {
    const BlockShape& shape = shape_.blocks[index];
    const TrainBlock& block = blocks_[index];
    std::vector<double> out = Convolve(shape, 3, block.dense.weight, block.dense.bias, in, height, width);
    if (shape_.form == Form::kTrain) {
      std::vector<double> sum(out.size());
      AddNormalized(block.dense.batch_norm, out, sum);
      AddNormalized(block.pointwise.batch_norm,
                    Convolve(shape, 1, block.pointwise.weight, {}, in, height, width), sum);
      if (shape.identity) AddNormalized(block.identity, in, sum);
      out = sum;
    }
    height = (height + shape.stride - 1) / shape.stride;
    width = (width + shape.stride - 1) / shape.stride;
    const auto relu = [&] {
      for (double& value : out) value = std::max(value, 0.0);
    };
    if (shape_.squeeze_excite != SqueezeExcitePosition::kBeforeRelu) relu();
    if (shape_.squeeze_excite != SqueezeExcitePosition::kNone) {
      const SqueezeExcite& gate = block.squeeze_excite;
      std::vector<double> hidden = Multiply(gate.down_weight, gate.down_bias, Pool(out, shape.out_channels));
      for (double& value : hidden) value = std::max(value, 0.0);
      const std::vector<double> factor = Multiply(gate.up_weight, gate.up_bias, hidden);
      for (size_t i = 0; i < out.size(); ++i) out[i] /= 1 + std::exp(-factor[i % factor.size()]);
      relu();
    }
    return out;
  }

  const NetworkShape shape_;
  std::deque<std::vector<float>> values_;
  std::vector<TrainBlock> blocks_;
  Linear linear_;
};

// The bounds of whole networks on logits.
Distance NetworkBound(Precision precision) {
  constexpr double kBounds[] = {1e-5, 5e-3, 5e-3, 2e-2};
  return {kBounds[static_cast<int>(precision)], 10 * kBounds[static_cast<int>(precision)]};
}

std::vector<uint8_t> RandomImages(const NetworkShape& shape, int count) {
  std::vector<uint8_t> pixels(static_cast<size_t>(count) * shape.height * shape.width * 3);
  uint32_t state = 1;
  for (uint8_t& pixel : pixels) pixel = (state = state * 1664525u + 1013904223u) >> 24;
  return pixels;
}

bool Never() { return false; }

cuda::DeviceTraits Device(int architecture = 80) { return {0, "emulated", architecture, 4, 1 << 20, 13000}; }

std::unique_ptr<cuda::CudaNetwork> MakeNetwork(const Reference& reference, Precision precision,
                                               int batch_size, const char* algorithm = "",
                                               int architecture = 80) {
  setenv("REPVGG_CACHE_DIR", "/nonexistent/repvgg", 1);
  BackendOptions options;
  options.batch_size = batch_size;
  options.algorithm = algorithm;
  auto network = std::make_unique<cuda::CudaNetwork>(reference.shape(), precision, options,
                                                     Device(architecture), nullptr);
  reference.Load(*network);
  return network;
}

std::vector<float> RunNetwork(cuda::CudaNetwork& network, const std::vector<uint8_t>& pixels,
                              Output output = Output::kLogits, const Cancelled& cancelled = Never) {
  const NetworkShape& shape = network.shape();
  const int count = static_cast<int>(pixels.size() / 3 / shape.height / shape.width);
  std::vector<float> out(count * (output == Output::kLogits ? shape.num_classes : shape.embedding_channels()),
                         NAN);
  network.Run({pixels.data(), count}, output, out.data(), cancelled);
  return out;
}

void CheckLogits(const Reference& reference, const std::vector<uint8_t>& pixels,
                 const std::vector<float>& logits, const Distance& bound) {
  std::vector<double> expected;
  const size_t image = static_cast<size_t>(reference.shape().height) * reference.shape().width * 3;
  for (size_t at = 0; at < pixels.size(); at += image) {
    const std::vector<double> own = reference.Logits(&pixels[at]);
    expected.insert(expected.end(), own.begin(), own.end());
  }
  ExpectWithin(Compare({logits.begin(), logits.end()}, expected), bound);
}

std::string CodeOf(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code();
  }
  return "no error";
}

void ExpectEqual(const std::string& got, const std::string& expected) {
  if (got != expected) Fail("got " + got + " instead of " + expected);
}

struct RestoreRuntime {
  ~RestoreRuntime() { runtime_settings() = {}; }
};

TEST("network: deploy form, every precision and algorithm") {
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  for (const Precision precision : kPrecisions) {
    for (const char* algorithm : {"direct", "f2"}) {
      const auto network = MakeNetwork(reference, precision, 2, algorithm);
      CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(precision));
    }
  }
  const auto turing = MakeNetwork(reference, Precision::kFp16, 2, "", 75);
  CheckLogits(reference, pixels, RunNetwork(*turing, pixels), NetworkBound(Precision::kFp16));
  // Volta has no fp16 for odd channels.
  ExpectEqual(CodeOf([&] { MakeNetwork(reference, Precision::kFp16, 2, "", 70); }),
              "ERR_PRECISION_UNSUPPORTED");
  NetworkShape even = reference.shape();
  even.blocks = {{3, 16, 2, 1, false, 0}, {16, 32, 1, 1, false, 0}, {32, 32, 1, 2, false, 0}};
  const Reference other(even);
  const auto volta = MakeNetwork(other, Precision::kFp16, 2, "", 70);
  CheckLogits(other, pixels, RunNetwork(*volta, pixels), NetworkBound(Precision::kFp16));
}

TEST("network: train form and squeeze-and-excite") {
  for (const Form form : {Form::kDeploy, Form::kTrain}) {
    for (const auto position : {SqueezeExcitePosition::kNone, SqueezeExcitePosition::kBeforeRelu,
                                SqueezeExcitePosition::kAfterRelu}) {
      const Reference reference(MakeShape(form, position));
      const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 2);
      for (const Precision precision : kPrecisions) {
        const auto network = MakeNetwork(reference, precision, 2);
        CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(precision));
      }
    }
  }
}

// With chunks of 2, 5 images keep all three streams busy, and the last chunk is not full.
TEST("network: an image's results do not depend on its batch") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 5);
  const size_t image = pixels.size() / 5, classes = reference.shape().num_classes;
  std::vector<float> first;
  for (const unsigned eager : {0, 1, 2, 4, 7}) {
    runtime_settings().eager = eager;
    const auto network = MakeNetwork(reference, Precision::kFp16, 2);
    const int graphs = GraphsMade();
    const std::vector<float> together = RunNetwork(*network, pixels);
    if (first.empty()) first = together;
    if (together != first) Fail("results depend on when streams run");
    for (int i = 4; i >= 0; --i) {
      const std::vector<float> alone =
          RunNetwork(*network, {pixels.begin() + i * image, pixels.begin() + (i + 1) * image});
      if (!std::equal(alone.begin(), alone.end(), together.begin() + i * classes)) {
        Fail("image " + std::to_string(i) + " has other results alone");
      }
    }
    if (GraphsMade() != graphs + 2) Fail("there should be one graph for 2 images and one for 1");
  }
  CheckLogits(reference, pixels, first, NetworkBound(Precision::kFp16));
}

TEST("network: embeddings of a backbone") {
  NetworkShape shape = MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone);
  shape.num_classes = 0;
  const Reference reference(shape);
  const std::vector<uint8_t> pixels = RandomImages(shape, 1);
  const auto network = MakeNetwork(reference, Precision::kFp32, 1);
  const std::vector<float> got = RunNetwork(*network, pixels, Output::kEmbedding);
  ExpectWithin(Compare({got.begin(), got.end()}, reference.Embedding(pixels.data())),
               NetworkBound(Precision::kFp32));
}

// More than two of the pieces that pixels are uploaded in.
TEST("network: large images") {
  NetworkShape shape = MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone);
  shape.blocks = {{3, 4, 2, 1, false, 0}};
  shape.height = 1200;
  shape.width = 1300;
  const Reference reference(shape);
  const std::vector<uint8_t> pixels = RandomImages(shape, 2);
  const auto network = MakeNetwork(reference, Precision::kFp32, 2);
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
}

TEST("network: an aborted run leaves the network as it was") {
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  const auto network = MakeNetwork(reference, Precision::kFp32, 1);
  int asked = 0;
  ExpectEqual(CodeOf([&] { RunNetwork(*network, pixels, Output::kLogits, [&] { return ++asked == 2; }); }),
              kAborted);
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
}

TEST("network: too little memory lowers the batch, then is an error") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kTrain, SqueezeExcitePosition::kAfterRelu));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 9);
  const size_t before = DeviceMemoryInUse();
  size_t three = 0;
  {
    const auto network = MakeNetwork(reference, Precision::kFp32, 3);
    const size_t weights = DeviceMemoryInUse();
    RunNetwork(*network, pixels);
    three = DeviceMemoryInUse() - weights;
  }
  if (DeviceMemoryInUse() != before) Fail("memory was not freed");

  const auto network = MakeNetwork(reference, Precision::kFp32, 9);
  runtime_settings().memory_limit = DeviceMemoryInUse() + three * 5 / 3;
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
  if (network->Describe().find("\"batchSize\": 5,") == std::string::npos) Fail(network->Describe());

  runtime_settings().memory_limit = 0;
  const auto starved = MakeNetwork(reference, Precision::kFp32, 9);
  runtime_settings().memory_limit = DeviceMemoryInUse() + three / 4;
  ExpectEqual(CodeOf([&] { RunNetwork(*starved, pixels); }), cuda::kOutOfMemory);
  runtime_settings().memory_limit = 0;
  CheckLogits(reference, pixels, RunNetwork(*starved, pixels), NetworkBound(Precision::kFp32));
}

TEST("network: a device that fails loses the model, not the process") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  const auto network = MakeNetwork(reference, Precision::kFp32, 1);
  runtime_settings().failing_launch = 3;
  ExpectEqual(CodeOf([&] { RunNetwork(*network, pixels); }), cuda::kDeviceLost);
  runtime_settings().failing_launch = -1;
  ExpectEqual(CodeOf([&] { RunNetwork(*network, pixels); }), cuda::kDeviceLost);
  const auto other = MakeNetwork(reference, Precision::kFp32, 1);
  CheckLogits(reference, pixels, RunNetwork(*other, pixels), NetworkBound(Precision::kFp32));
}

TEST("chooser: a tile must fit into the shared memory of its device") {
  const cuda::Convolution layer = MakeLayer(64, 128, 1, 1, 14, 8);
  const size_t all = cuda::ListCandidates(layer, Precision::kFp32, 90, "").size();
  const std::vector<cuda::Candidate> turing = cuda::ListCandidates(layer, Precision::kFp32, 75, "");
  // F(2x2) takes 96 KB, and Turing has 64.
  for (const cuda::Candidate& candidate : turing) {
    if (candidate.algorithm == cuda::Algorithm::kWinogradF2) Fail(candidate.name);
  }
  if (turing.empty() || turing.size() >= all) Fail("Turing should have some of the tiles");
}

TEST("chooser: measures once, remembers on disk, and falls back on an estimate") {
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("repvgg-chooser-" + std::to_string(getpid()));
  const cuda::Convolution layer = MakeLayer(64, 128, 1, 1, 14, 8);
  const std::vector<cuda::Candidate> candidates = cuda::ListCandidates(layer, Precision::kFp16, 80, "");
  const std::string fastest = candidates[candidates.size() / 2].name;
  int measured = 0;
  const cuda::MeasureLayer measure = [&](const cuda::Convolution&, const cuda::Candidate& candidate) {
    ++measured;
    return candidate.name == candidates[0].name ? std::nullopt
                                                : std::optional(candidate.name == fastest ? 2.5 : 7.0);
  };
  const auto choose = [&](const cuda::DeviceTraits& device, const char* algorithm, cuda::MeasureLayer with) {
    cuda::Chooser chooser(device, Precision::kFp16, algorithm, directory, std::move(with));
    const cuda::Choice choice = chooser.Choose(layer);
    return std::string(choice.source) + ' ' + choice.candidate.name;
  };
  ExpectEqual(choose(Device(), "", measure), "measured " + fastest);
  if (measured != static_cast<int>(candidates.size())) Fail("every candidate should be measured once");
  ExpectEqual(choose(Device(), "", nullptr), "cached " + fastest);
  ExpectEqual(choose(Device(), "", measure), "cached " + fastest);
  if (measured != static_cast<int>(candidates.size())) Fail("a cached layer should not be measured");

  // Another driver may have another compiler; its measurements are its own.
  cuda::DeviceTraits newer = Device();
  ++newer.driver_version;
  ExpectEqual(choose(newer, "", nullptr).substr(0, 9), "estimated");
  // A pinned algorithm is a choice among its tiles.
  ExpectEqual(choose(Device(), "f2", nullptr).substr(0, 9), "cached f2");

  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::filesystem::path file = entry.path();
    std::ifstream in(file);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    std::ofstream(file) << text.substr(0, text.size() * 2 / 3);
  }
  const std::string torn = choose(Device(), "", nullptr);
  if (torn.find("cached") != 0 && torn.find("estimated") != 0) Fail(torn);
  for (const auto& entry : std::filesystem::directory_iterator(directory)) std::ofstream(entry.path()) << "{";
  ExpectEqual(choose(Device(), "", nullptr).substr(0, 9), "estimated");
  ExpectEqual(choose(Device(), "", measure), "measured " + fastest);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace repvgg::emulator
