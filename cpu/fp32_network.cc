#include "cpu/fp32_network.h"

#include <algorithm>
#include <utility>

#include "cpu/fp32_direct.h"
#include "cpu/fp8_simulation.h"

namespace repvgg::cpu {

// Only for direct convolution, whose packed weights are those of the kernels, rearranged.
class Fp32Network::DirectSink : public KernelSink {
 public:
  DirectSink(const BlockShape& block, PackedConvolution packed)
      : KernelSink(block.out_channels, block.in_channels / block.groups), packed(std::move(packed)) {}
  void Put(const float* kernels, size_t first, size_t count) override {
    PackWeights(packed, kernels, first, count);
  }

  PackedConvolution packed;
};

Fp32Network::Fp32Network(NetworkShape network, const KernelTable& kernels, std::shared_ptr<ThreadPool> pool,
                         BackendOptions options)
    : CpuNetwork(network, kernels, std::move(pool), std::move(options), PlanMemory(network, 1)),
      blocks_(shape().blocks.size()),
      sinks_(shape().blocks.size()),
      scratch_(pool_->threads()),
      chooser_(kernels_, AllowedFor(shape(), options_)) {}

std::unique_ptr<Fp32Convolution> Fp32Network::MakeDense(size_t index, Floats weight, Floats bias) {
  // Not images_together_, which may depend on the number of threads: results must not.
  const int together = std::clamp(options_.batch_size, 1, kMostImagesTogether);
  const BlockShape& block = shape().blocks[index];
  Choice& choice = choices_[index];
  choice = chooser_.Choose(block, plan_.sizes[index], plan_.sizes[index + 1],
                           index < first_late_block_ ? 1 : together, weight, bias);
  const int width = plan_.sizes[index + 1].width;
  const std::shared_ptr<DirectSink> sink = std::move(sinks_[index]);
  if (sink != nullptr && weight.empty()) {
    return std::make_unique<Fp32Direct>(kernels_, block, width, std::move(sink->packed), bias);
  }
  return MakeConvolution(kernels_, block, width, choice.algorithm, weight, bias, scratch_);
}

std::shared_ptr<KernelSink> Fp32Network::MakeSink(size_t index) {
  if (!chooser_.direct_only() || options_.precision == Precision::kFp8) return nullptr;
  const BlockShape& block = shape().blocks[index];
  sinks_[index] = std::make_shared<DirectSink>(
      block, Fp32Direct::MakePacked(kernels_, block, plan_.sizes[index + 1].width, 9));
  return sinks_[index];
}

void Fp32Network::SetBlock(size_t index, const DeployBlock& from) {
  if (options_.precision == Precision::kFp8 && from.scale.empty()) {
    return SetBlock(index, SimulateFp8(shape(), index, from).view());
  }
  blocks_[index].dense = MakeDense(index, from.weight, from.bias);
  blocks_[index].gate = CopyGate(from.squeeze_excite);
}

void Fp32Network::SetBlock(size_t index, const TrainBlock& from) {
  Block& block = blocks_[index];
  block.dense = MakeDense(index, from.dense.weight, from.dense.bias);
  block.pointwise =
      std::make_unique<Fp32Direct>(kernels_, shape().blocks[index], plan_.sizes[index + 1].width, 1,
                                   from.pointwise.weight, from.pointwise.bias);
  block.dense_affine = ToAffine(from.dense.batch_norm);
  block.pointwise_affine = ToAffine(from.pointwise.batch_norm);
  block.identity_affine = ToAffine(from.identity);
  block.gate = CopyGate(from.squeeze_excite);
}

Fp32Maps Fp32Network::MapsAt(size_t point, float* data) const {
  return {data, plan_.sizes[point], point == 0 ? 3 : shape().blocks[point - 1].out_channels};
}

void Fp32Network::ReadPixels(const ImageBatch& batch, const Fp32Maps& out) {
  const std::vector<float> value_of = NormalizationTable(shape().mean, shape().stddev);
  const size_t height = shape().height;
  const size_t width = shape().width;
  pool_->Run(batch.count * height, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i) {
      if (i % height == 0) ZeroBorder(out, i / height);
      const uint8_t* from = batch.pixels + i * width * 3;
      float* to = out.row(i / height, i % height);
      for (size_t x = 0; x < width; ++x) {
        for (int c = 0; c < 3; ++c) to[x * 3 + c] = value_of[c * 256 + from[x * 3 + c]];
      }
    }
  });
}

void Fp32Network::RunBlock(size_t index, int images, const Fp32Maps& in, const Fp32Maps& out) {
  const Block& block = blocks_[index];
  const SqueezeExcitePosition squeeze = shape().squeeze_excite;
  const bool relu = squeeze != SqueezeExcitePosition::kBeforeRelu;
  if (shape().form == Form::kTrain) {
    RunBranches(block, images, in, out, relu);
  } else {
    block.dense->Run(*pool_, images, in, out, relu);
  }
  if (squeeze != SqueezeExcitePosition::kNone) SqueezeAndExcite(block.gate, images, out, !relu);
  if (ranges_ != nullptr) NoteRanges(out, images, ranges_ + shape().first_channel(index));
  if (options_.precision == Precision::kFp8 && index + 1 < blocks_.size()) RoundMaps(*pool_, out, images);
}

void Fp32Network::AllocateBranches() {
  size_t size = 0;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const int images = i < first_late_block_ ? images_early_ : images_together_;
    size = std::max(size, plan_.elements[i + 1] * images);
  }
  for (HugeArray<float>& branch : branches_) branch = HugeArray<float>(size);
}

void Fp32Network::RunBranches(const Block& block, int images, const Fp32Maps& in, const Fp32Maps& out,
                              bool relu) {
  if (branches_[1].size() == 0)
    AllocateBranches();  // The second: if allocating it failed, both are allocated again.
  const Fp32Maps dense = {branches_[0].data(), out.size, out.channels};
  const Fp32Maps pointwise = {branches_[1].data(), out.size, out.channels};
  block.dense->Run(*pool_, images, in, dense, false);
  block.pointwise->Run(*pool_, images, in, pointwise, false);

  const float* scale[] = {block.dense_affine.scale.data(), block.pointwise_affine.scale.data(),
                          block.identity_affine.scale.data()};
  const float* shift[] = {block.dense_affine.shift.data(), block.pointwise_affine.shift.data(),
                          block.identity_affine.shift.data()};
  const int branches = block.identity_affine.scale.empty() ? 2 : 3;
  const size_t height = out.size.height;
  pool_->Run(images * height, [&](const ThreadPool::Share& share) {
    for (size_t i = share.begin; i < share.end; ++i) {
      const int image = i / height;
      const int y = i % height;
      if (y == 0) ZeroBorder(out, image);
      const float* rows[] = {dense.row(image, y), pointwise.row(image, y), in.row(image, y)};
      kernels_.sum_branches(rows, scale, shift, branches, out.channels, out.size.width, relu,
                            out.row(image, y));
    }
  });
}

void Fp32Network::GateImage(const Fp32Maps& maps, int image, const float* gate, bool relu) const {
  for (int y = 0; y < maps.size.height; ++y)
    kernels_.gate(maps.row(image, y), gate, maps.channels, maps.size.width, relu);
}

// Sums each row in float and the row sums in double, so that a whole map rounds no worse than one row.
void Fp32Network::PoolImage(const Fp32Maps& maps, int image, float* mean) const {
  std::vector<double> total(maps.channels);
  std::vector<float> row(maps.channels);
  for (int y = 0; y < maps.size.height; ++y) {
    std::fill(row.begin(), row.end(), 0.0f);
    kernels_.sum_pixels(maps.row(image, y), maps.channels, maps.size.width, row.data());
    for (int c = 0; c < maps.channels; ++c) total[c] += row[c];
  }
  const double pixels = static_cast<double>(maps.size.height) * maps.size.width;
  for (int c = 0; c < maps.channels; ++c) mean[c] = static_cast<float>(total[c] / pixels);
}

}  // namespace repvgg::cpu
