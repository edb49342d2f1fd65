#include "cuda/block.h"

#include "cuda/squeeze_excite.h"
#include "cuda/train_form.h"
#include "engine/normalization.h"

namespace repvgg::cuda {
namespace {

template <typename Values>
DeviceMemory UploadValues(const Values& values) {
  return Upload(values.data(), values.size() * sizeof(*values.data()));
}

const float* AsFloats(const DeviceMemory& memory) { return static_cast<const float*>(memory.get()); }

// Zeros where there is no bias.
DeviceMemory UploadBias(Floats bias, int channels) {
  return bias.empty() ? UploadValues(std::vector<float>(channels)) : UploadValues(bias);
}

}  // namespace

Block::Block(const NetworkShape& network, size_t index, MapSize in, Precision precision,
             size_t workspace_limit)
    : shape_(network.blocks[index]),
      form_(network.form),
      squeeze_excite_(network.squeeze_excite),
      first_(index == 0),
      in_(in),
      precision_(precision),
      workspace_limit_(workspace_limit),
      mean_(network.mean),
      stddev_(network.stddev) {}

Convolution Block::Layer(int batch) const {
  Convolution layer;
  layer.batch = batch;
  layer.height = in_.height;
  layer.width = in_.width;
  layer.in_channels = shape_.in_channels;
  layer.out_channels = shape_.out_channels;
  layer.stride = shape_.stride;
  layer.groups = shape_.groups;
  return layer;
}

Stem Block::StemLayer(int batch) const {
  Stem stem;
  stem.batch = batch;
  stem.height = in_.height;
  stem.width = in_.width;
  stem.out_channels = shape_.out_channels;
  return stem;
}

size_t Block::GateScratch(int batch) const {
  if (squeeze_excite_ == SqueezeExcitePosition::kNone) return 0;
  return SqueezeExciteScratch(batch, shape_.out_channels, shape_.squeeze_channels);
}

int Block::SliceImages(int batch) const {
  return cuda::SliceImages(Layer(batch), choice_->candidate, workspace_limit_);
}

size_t Block::Workspace(int batch) const {
  return first_ ? 0 : WorkspaceBytes(Layer(batch), choice_->candidate);
}

void Block::Set(const DeployBlock& block, const Choice* choice) {
  SetConvolution(block.weight, block.bias, choice);
  scale_ = UploadValues(block.scale);
  SetGate(block.squeeze_excite);
}

void Block::Set(const TrainBlock& block, const Choice* choice) {
  SetConvolution(block.dense.weight, block.dense.bias, choice);
  pointwise_ = UploadValues(PackPointwise(Layer(1), block.pointwise.weight.data()));
  pointwise_bias_ = UploadBias(block.pointwise.bias, shape_.out_channels);
  dense_affine_ = UploadAffine(block.dense.batch_norm);
  pointwise_affine_ = UploadAffine(block.pointwise.batch_norm);
  if (!block.identity.gamma.empty()) identity_affine_ = UploadAffine(block.identity);
  if (first_) {
    // With these weights the stem's kernel copies the centre pixel of each window.
    std::vector<float> copying(3 * 3 * 9);
    for (int c = 0; c < 3; ++c) copying[(c * 3 + c) * 9 + 4] = 1;
    sampling_weight_ = UploadValues(PackStem(copying.data(), 3));
    sampling_bias_ = UploadBias({}, 3);
  }
  SetGate(block.squeeze_excite);
}

void Block::SetConvolution(Floats weight, Floats bias, const Choice* choice) {
  choice_ = choice;
  if (first_) normalized_ = UploadValues(NormalizationTable(mean_, stddev_));
  weight_ =
      first_
          ? UploadValues(PackStem(weight.data(), shape_.out_channels))
          : UploadValues(PackConvolution(Layer(1), weight.data(), precision_, choice->candidate.algorithm));
  bias_ = UploadBias(bias, shape_.out_channels);
}

void Block::SetGate(const SqueezeExcite& gate) {
  down_weight_ = UploadValues(gate.down_weight);
  down_bias_ = UploadValues(gate.down_bias);
  up_weight_ = UploadValues(gate.up_weight);
  up_bias_ = UploadValues(gate.up_bias);
}

Block::DeviceAffine Block::UploadAffine(const BatchNorm& batch_norm) {
  const ChannelAffine affine = ToAffine(batch_norm);
  return {UploadValues(affine.scale), UploadValues(affine.shift)};
}

bool Block::LeadsInto(const Block& next) const {
  if (first_ || form_ != Form::kDeploy || squeeze_excite_ != SqueezeExcitePosition::kNone) return false;
  const Algorithm own = choice_->candidate.algorithm;
  // Slices run through a whole chain: with maps of equal size, a slice's output lies where its input was.
  if (shape_.in_channels != shape_.out_channels || next.shape_.in_channels != next.shape_.out_channels) {
    return false;
  }
  return IsChain(own) && own == next.choice_->candidate.algorithm;
}

bool Block::ComputesFirst() const { return !first_ && choice_->candidate.algorithm == Algorithm::kStemFused; }

bool Block::CanPool() const {
  return !first_ && form_ == Form::kDeploy && squeeze_excite_ == SqueezeExcitePosition::kNone &&
         PoolsItself(choice_->candidate);
}

void Block::Enqueue(const BlockBuffers& buffers, int batch, cudaStream_t stream) const {
  const bool gated = squeeze_excite_ != SqueezeExcitePosition::kNone;
  const bool relu = squeeze_excite_ != SqueezeExcitePosition::kBeforeRelu;
  if (form_ == Form::kTrain) {
    EnqueueBranches(buffers, relu, batch, stream);
  } else {
    EnqueueConvolution(buffers, buffers.out, relu, batch, stream);
  }
  if (!gated) return;
  const Convolution layer = Layer(batch);
  Check(LaunchSqueezeExcite({buffers.out, batch, layer.out_height() * layer.out_width(), shape_.out_channels,
                             shape_.squeeze_channels, !relu, AsFloats(down_weight_), AsFloats(down_bias_),
                             AsFloats(up_weight_), AsFloats(up_bias_), buffers.gates},
                            precision_, stream),
        "running squeeze-and-excite");
}

Stem Block::StemFrom(const void* pixels, void* out, bool relu, int batch) const {
  Stem stem = StemLayer(batch);
  stem.in = static_cast<const uint8_t*>(pixels);
  stem.normalized = AsFloats(normalized_);
  stem.weight = AsFloats(weight_);
  stem.bias = AsFloats(bias_);
  stem.out = out;
  stem.relu = relu;
  return stem;
}

void Block::EnqueueConvolution(const BlockBuffers& buffers, void* out, bool relu, int batch,
                               cudaStream_t stream) const {
  if (first_) {
    Check(LaunchStem(StemFrom(buffers.in, out, relu, batch), precision_, stream), "running the first layer");
    return;
  }
  Convolution layer = Layer(batch);
  Stem stem;
  if (buffers.ahead != nullptr) {
    stem = buffers.ahead->StemFrom(buffers.in, nullptr, relu, batch);
    layer.stem = &stem;
  }
  layer.in = buffers.in;
  layer.weight = weight_.get();
  layer.bias = AsFloats(bias_);
  layer.scale = AsFloats(scale_);
  layer.out = out;
  layer.workspace = buffers.workspace;
  layer.pooled = buffers.pooled;
  layer.transformed_in = buffers.transformed_in;
  layer.transformed_out = buffers.transformed_out;
  layer.relu = relu;
  Check(LaunchConvolution(layer, precision_, choice_->candidate, stream), "running a convolution");
}

void Block::EnqueueBranches(const BlockBuffers& buffers, bool relu, int batch, cudaStream_t stream) const {
  EnqueueConvolution(buffers, buffers.dense, false, batch, stream);
  TrainFormLayer layer;
  layer.shape = Layer(batch);
  layer.shape.in = buffers.in;
  if (first_) {
    // The 1x1 branch of stride 2 reads every second pixel; it runs with stride 1 on a map of just those.
    const Stem sampling = {static_cast<const uint8_t*>(buffers.in),
                           AsFloats(normalized_),
                           AsFloats(sampling_weight_),
                           AsFloats(sampling_bias_),
                           buffers.sampled,
                           batch,
                           in_.height,
                           in_.width,
                           3,
                           false};
    Check(LaunchStem(sampling, precision_, stream), "running the first layer");
    layer.shape.in = buffers.sampled;
    layer.shape.height = sampling.out_height();
    layer.shape.width = sampling.out_width();
    layer.shape.stride = 1;
  }
  layer.shape.out = buffers.out;
  layer.shape.relu = relu;
  layer.dense = buffers.dense;
  layer.pointwise = AsFloats(pointwise_);
  layer.pointwise_bias = AsFloats(pointwise_bias_);
  const auto affine = [](const DeviceAffine& from) {
    return Affine{AsFloats(from.scale), AsFloats(from.shift)};
  };
  layer.dense_affine = affine(dense_affine_);
  layer.pointwise_affine = affine(pointwise_affine_);
  layer.identity_affine = affine(identity_affine_);
  Check(LaunchTrainForm(layer, precision_, stream), "running the branches of a block");
}

}  // namespace repvgg::cuda
