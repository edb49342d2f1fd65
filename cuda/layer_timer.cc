#include "cuda/layer_timer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

#include "cuda/device_memory.h"
#include "cuda/formats.h"
#include "cuda/stem.h"
#include "engine/error.h"
#include "engine/normalization.h"

namespace repvgg::cuda {
namespace {

constexpr int kRepetitions = 5;
constexpr double kGraphMicroseconds = 500;
constexpr int kMostLaunches = 16;  // Per graph.
constexpr double kWarmUpMicroseconds = 1e5;
constexpr size_t kPatternBytes = 1 << 20;

// Small values of both signs: zeros would run faster than real data, and large values overflow in fp16.
std::vector<unsigned char> RandomPattern(Precision precision) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-0.05f, 0.05f);
  std::vector<unsigned char> bytes(kPatternBytes);
  const int size = ElementSize(precision);
  for (size_t i = 0; i < bytes.size(); i += size) {
    const uint32_t bits = FormatBits((precision == Precision::kFp8 ? 100 : 1) * uniform(random), precision);
    std::memcpy(&bytes[i], &bits, size);
  }
  return bytes;
}

constexpr size_t Align(size_t bytes) { return (bytes + 255) / 256 * 256; }

class LayerTimer {
 public:
  LayerTimer(const DeviceTraits& device, Precision precision)
      : device_(device), precision_(precision), pattern_(RandomPattern(precision)) {}

  std::optional<double> Measure(const Convolution& layer, const Candidate& candidate) try {
    const size_t size = ElementSize(precision_);
    const size_t map = Align(size * layer.batch * layer.height * layer.width * layer.in_channels);
    const size_t in =
        layer.stem == nullptr ? map : Align(size_t{3} * layer.batch * layer.stem->height * layer.stem->width);
    const size_t out = Align(size * layer.pixels() * layer.out_channels);
    // An upper bound of all packings: F(4x4) has 36 values where the kernel has 9, and depths are padded.
    const size_t weight = Align(size * 36 * DivideUp(layer.group_in(), 128) * 128 * layer.out_channels);
    const size_t sets = std::clamp<size_t>(2 * device_.l2_bytes / (in + out + weight) + 1, 2, kMostLaunches);
    Reserve(sets * (in + weight) + sizeof(float) * layer.out_channels, inputs_);
    Reserve(sets * out, outputs_);
    Reserve(WorkspaceBytes(layer, candidate), workspace_);
    Stem stem;
    if (layer.stem != nullptr) {
      stem = *layer.stem;
      PrepareStem(stem);
      if (candidate.algorithm != Algorithm::kStemFused) Reserve(map, between_);
    }

    Convolution run = layer;
    run.workspace = workspace_.memory.get();
    run.bias = run.scale = reinterpret_cast<const float*>(inputs_.at(sets * (in + weight)));
    size_t next = 0;
    const auto launch = [&] {
      const size_t set = next++ % sets;
      run.in = inputs_.at(set * (in + weight));
      if (layer.stem != nullptr) {
        stem.in = static_cast<const uint8_t*>(run.in);
        run.in = stem.out = between_.at(0);
        run.stem = &stem;
      }
      run.weight = inputs_.at(set * (in + weight) + in);
      run.out = outputs_.at(set * out);
      Check(LaunchConvolution(run, precision_, candidate, stream_.get()), "measuring a layer");
    };
    launch();  // Loads the kernel lazily.
    const double once = Time(launch);
    for (; warm_up_ > 0; warm_up_ -= Time(launch)) {
    }
    const int launches =
        static_cast<int>(std::clamp<double>(kGraphMicroseconds / std::max(once, 1.0), 1, kMostLaunches));
    const Graph graph = CaptureGraph(stream_.get(), [&] {
      for (int i = 0; i < launches; ++i) launch();
    });
    std::array<double, kRepetitions> times;
    for (double& time : times) {
      time =
          Time([&] { Check(cudaGraphLaunch(graph.get(), stream_.get()), "measuring a layer"); }) / launches;
    }
    std::nth_element(times.begin(), times.begin() + kRepetitions / 2, times.end());
    return times[kRepetitions / 2];
  } catch (const Error& error) {
    if (error.code() == kDeviceLost) throw;
    // Out of memory, or a launch that the device or its driver refuses: the other candidates remain.
    return std::nullopt;
  }

 private:
  struct Arena {
    DeviceMemory memory;
    size_t bytes = 0;
    unsigned char* at(size_t offset) const { return static_cast<unsigned char*>(memory.get()) + offset; }
  };

  // Inputs and outputs are separate, so that no input is ever a result: after some layers those would be
  // zeros.
  void Reserve(size_t bytes, Arena& arena) {
    if (bytes <= arena.bytes) return;
    arena = {};
    arena = {AllocateDevice(bytes), bytes};
    for (size_t at = 0; at < bytes; at += kPatternBytes) {
      Check(cudaMemcpyAsync(arena.at(at), pattern_.data(), std::min(kPatternBytes, bytes - at),
                            cudaMemcpyHostToDevice, stream_.get()),
            "measuring a layer");
    }
  }

  // Random parameters, of as many channels as the fused kernel supports.
  void PrepareStem(Stem& stem) {
    if (stem_bias_ == nullptr) {
      std::mt19937 random(1);
      std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
      const auto make = [&](size_t count) {
        std::vector<float> values(count);
        for (float& value : values) value = uniform(random);
        return values;
      };
      const auto upload = [](const std::vector<float>& values) {
        return Upload(values.data(), values.size() * sizeof(float));
      };
      normalized_ = upload(NormalizationTable({0.45f, 0.45f, 0.45f}, {0.25f, 0.25f, 0.25f}));
      stem_weight_ = upload(PackStem(make(27 * kStemPackedChannels).data(), kStemPackedChannels));
      stem_bias_ = upload(make(kStemPackedChannels));
    }
    stem.normalized = static_cast<const float*>(normalized_.get());
    stem.weight = static_cast<const float*>(stem_weight_.get());
    stem.bias = static_cast<const float*>(stem_bias_.get());
  }

  template <typename Enqueue>
  double Time(Enqueue enqueue) {
    Check(cudaEventRecord(start_.get(), stream_.get()), "measuring a layer");
    enqueue();
    Check(cudaEventRecord(end_.get(), stream_.get()), "measuring a layer");
    Check(cudaEventSynchronize(end_.get()), "measuring a layer");
    float milliseconds = 0;
    Check(cudaEventElapsedTime(&milliseconds, start_.get(), end_.get()), "measuring a layer");
    return milliseconds * 1000.0;
  }

  const DeviceTraits device_;
  const Precision precision_;
  const std::vector<unsigned char> pattern_;
  const Stream stream_ = MakeStream();
  const Event start_ = MakeEvent(EventUse::kTime), end_ = MakeEvent(EventUse::kTime);
  Arena inputs_, outputs_, workspace_, between_;
  DeviceMemory normalized_, stem_weight_, stem_bias_;
  // An idle GPU takes a while to raise its clock; the first candidates would look slow.
  double warm_up_ = kWarmUpMicroseconds;
};

}  // namespace

MeasureLayer MakeLayerTimer(const DeviceTraits& device, Precision precision) {
  return [=, timer = std::shared_ptr<LayerTimer>()](const Convolution& layer,
                                                    const Candidate& candidate) mutable {
    if (timer == nullptr) timer = std::make_shared<LayerTimer>(device, precision);
    return timer->Measure(layer, candidate);
  };
}

}  // namespace repvgg::cuda
