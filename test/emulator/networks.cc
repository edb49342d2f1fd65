#include "test/emulator/networks.h"

#include <cmath>
#include <cstdlib>

#include "engine/e4m3.h"
#include "engine/error.h"
#include "engine/fp8.h"
#include "test/emulator/layers.h"
#include "test/run_and_wait.h"

namespace repvgg::emulator {
namespace {

std::vector<double> Pool(const std::vector<double>& map, int channels) {
  std::vector<double> mean(channels);
  for (size_t i = 0; i < map.size(); ++i) mean[i % channels] += map[i] * channels / map.size();
  return mean;
}
std::vector<double> Multiply(Floats weight, Floats bias, const std::vector<double>& in) {
  std::vector<double> out(bias.begin(), bias.end());
  for (size_t i = 0; i < weight.size(); ++i) out[i / in.size()] += weight[i] * in[i % in.size()];
  return out;
}
void AddNormalized(const BatchNorm& norm, const std::vector<double>& in, std::vector<double>& sum) {
  const size_t channels = norm.gamma.size();
  for (size_t i = 0; i < in.size(); ++i) {
    const size_t c = i % channels;
    sum[i] += (in[i] - norm.mean[c]) / std::sqrt(norm.variance[c] + norm.eps) * norm.gamma[c] + norm.beta[c];
  }
}

std::vector<double> Convolve(const BlockShape& block, int size, Floats weight, Floats bias,
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

int CountImages(const NetworkShape& shape, const std::vector<uint8_t>& pixels) {
  return static_cast<int>(pixels.size() / 3 / shape.height / shape.width);
}

ImageBatch BatchOf(const NetworkShape& shape, const std::vector<uint8_t>& pixels) {
  return {pixels.data(), CountImages(shape, pixels)};
}

}  // namespace

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

Reference::Reference(NetworkShape shape) : shape_(std::move(shape)) {
  for (const BlockShape& block : shape_.blocks) {
    const int in = block.in_channels / block.groups, out = block.out_channels;
    const bool train = shape_.form == Form::kTrain;
    TrainBlock own;
    own.dense = {Normal(out * in * 9, std::sqrt(2.0 / 9 / in)), Normal(out, 0.1), MakeNorm(train ? out : 0)};
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

void Reference::Load(Network& network) const {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const TrainBlock& block = blocks_[i];
    if (shape_.form == Form::kTrain) {
      network.SetBlock(i, block);
    } else {
      network.SetBlock(i, DeployBlock{block.dense.weight, block.dense.bias, block.squeeze_excite, {}});
    }
  }
  if (shape_.num_classes > 0) network.SetLinear(linear_);
}

void Reference::Quantize(const std::vector<uint8_t>& pixels) {
  shape_.ranges.assign(shape_.total_channels(), 0);
  std::vector<double> map = Normalized(pixels.data());
  int height = shape_.height, width = shape_.width, first = 0;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    map = RunBlock(i, map, height, width);
    const int channels = shape_.blocks[i].out_channels;
    for (size_t j = 0; j < map.size(); ++j) {
      float& range = shape_.ranges[first + j % channels];
      range = std::max(range, static_cast<float>(map[j]));
    }
    first += channels;
  }
  fp8_ = true;
}

std::vector<double> Reference::Normalized(const uint8_t* pixels) const {
  std::vector<double> map(static_cast<size_t>(shape_.height) * shape_.width * 3);
  for (size_t i = 0; i < map.size(); ++i) {
    map[i] = (pixels[i] / 255.0 - shape_.mean[i % 3]) / shape_.stddev[i % 3];
  }
  return map;
}

std::vector<double> Reference::Embedding(const uint8_t* pixels) const {
  int height = shape_.height, width = shape_.width;
  std::vector<double> map = Normalized(pixels);
  for (size_t i = 0; i < blocks_.size(); ++i) map = RunBlock(i, map, height, width);
  return Pool(map, shape_.embedding_channels());
}

std::vector<double> Reference::Logits(const uint8_t* pixels) const {
  return Multiply(linear_.weight, linear_.bias, Embedding(pixels));
}

Floats Reference::Normal(int count, double deviation) {
  return values_.emplace_back(RandomNormal(count, deviation, 100 + values_.size()));
}
Floats Reference::Positive(int count) {
  std::vector<float> values = RandomNormal(count, 0.3, 100 + values_.size());
  for (float& value : values) value = 0.4f + std::abs(value);
  return values_.emplace_back(std::move(values));
}
BatchNorm Reference::MakeNorm(int channels) {
  if (channels == 0) return {};
  return {Positive(channels), Normal(channels, 0.2), Normal(channels, 0.2), Positive(channels), 1e-5};
}

std::vector<double> Reference::RunBlock(size_t index, const std::vector<double>& in, int& height,
                                        int& width) const {
  const BlockShape& shape = shape_.blocks[index];
  const TrainBlock& block = blocks_[index];
  std::vector<double> out;
  if (fp8_) {
    QuantizedBlock own = QuantizeBlock(shape_, index, {block.dense.weight, block.dense.bias, {}, {}});
    const size_t row = own.weight.size() / own.scale.size();
    for (size_t i = 0; i < own.weight.size(); ++i) own.weight[i] *= own.scale[i / row];
    out = Convolve(shape, 3, own.weight, own.bias, in, height, width);
  } else {
    out = Convolve(shape, 3, block.dense.weight, block.dense.bias, in, height, width);
  }
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
  if (fp8_ && index + 1 < blocks_.size()) {
    for (double& value : out) value = RoundToE4m3(static_cast<float>(value));
  }
  return out;
}

Distance NetworkBound(Precision precision) {
  constexpr double kBounds[] = {1e-5, 5e-3, 5e-3, 2e-2, 2e-2};
  return {kBounds[static_cast<int>(precision)], 10 * kBounds[static_cast<int>(precision)]};
}

std::vector<uint8_t> RandomImages(const NetworkShape& shape, int count) {
  std::vector<uint8_t> pixels(static_cast<size_t>(count) * shape.height * shape.width * 3);
  uint32_t state = 1;
  for (uint8_t& pixel : pixels) pixel = (state = state * 1664525u + 1013904223u) >> 24;
  return pixels;
}

cuda::DeviceTraits EmulatedDevice(int architecture) {
  return {0, "emulated", architecture, 4, 1 << 20, 13000};
}

std::unique_ptr<cuda::CudaNetwork> MakeNetwork(const Reference& reference, Precision precision,
                                               int batch_size, std::optional<ConvolutionAlgorithm> pinned,
                                               int architecture, cuda::MeasureLayer measure,
                                               size_t workspace_bytes) {
  BackendOptions options;
  options.precision = precision;
  options.batch_size = batch_size;
  options.algorithm = pinned;
  return MakeNetwork(reference, options, architecture, std::move(measure), workspace_bytes);
}

std::unique_ptr<cuda::CudaNetwork> MakeNetwork(const Reference& reference, const BackendOptions& options,
                                               int architecture, cuda::MeasureLayer measure,
                                               size_t workspace_bytes) {
  setenv("REPVGG_CACHE_DIR", "/dev/null/repvgg", 1);  // Where not even root can write.
  cuda::DeviceTraits device = EmulatedDevice(architecture);
  device.workspace_bytes = workspace_bytes;
  auto network = std::make_unique<cuda::CudaNetwork>(reference.shape(), options, device, std::move(measure));
  reference.Load(*network);
  return network;
}

std::vector<float> RunNetwork(Network& network, const std::vector<uint8_t>& pixels, Output output,
                              const Cancelled& cancelled) {
  Results results{output};
  std::vector<float> out(results.Count(network.shape(), CountImages(network.shape(), pixels)), NAN);
  results.values = out.data();
  RunAndWait(network, BatchOf(network.shape(), pixels), results, cancelled);
  return out;
}

Ranking RankNetwork(Network& network, const std::vector<uint8_t>& pixels, int k) {
  const size_t count = static_cast<size_t>(CountImages(network.shape(), pixels)) * k;
  Ranking ranking{std::vector<float>(count, NAN), std::vector<int32_t>(count, -1)};
  RunAndWait(network, BatchOf(network.shape(), pixels),
             {Output::kTopK, k, ranking.scores.data(), ranking.indices.data()}, Never);
  return ranking;
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

int AheadOf(const cuda::GemmSm90aTile& tile) {
  const cuda::GemmSm90aTile* plain = &tile;
  while (plain->multicast != cuda::Operand::kNone || plain->rows != tile.rows ||
         plain->columns != tile.columns || plain->ping_pong != tile.ping_pong) {
    --plain;
  }
  return static_cast<int>(&tile - plain);
}

std::string CodeOf(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return std::string(error.code());
  }
  return "no error";
}

void ExpectEqual(const std::string& got, const std::string& expected) {
  if (got != expected) Fail("got " + got + " instead of " + expected);
}

}  // namespace repvgg::emulator
