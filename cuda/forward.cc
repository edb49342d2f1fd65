#include "cuda/forward.h"

#include <algorithm>
#include <climits>

#include "cuda/buffer_plan.h"
#include "cuda/head.h"

namespace repvgg::cuda {
namespace {

constexpr size_t kMostBlocks = 65535;  // Limit of a grid's y and z dimensions.

}  // namespace

Forward::Forward(const NetworkShape& shape, Precision precision, size_t workspace_limit)
    : shape_(shape), precision_(precision), plan_(PlanMemory(shape, 0)) {
  for (size_t i = 0; i < shape.blocks.size(); ++i) {
    blocks_.emplace_back(shape, i, plan_.sizes[i], precision, workspace_limit);
  }
}

void Forward::SetLinear(const Linear& linear) {
  linear_weight_ = Upload(linear.weight.data(), linear.weight.size_bytes());
  linear_bias_ = Upload(linear.bias.data(), linear.bias.size_bytes());
}

int Forward::MostImages() const {
  const size_t largest = std::ranges::max(plan_.elements);
  return static_cast<int>(std::clamp<size_t>((INT_MAX - 1) / largest, 1, kMostBlocks));
}

BatchBuffers Forward::Allocate(int batch, cudaStream_t stream) const {
  const size_t images = batch, element = ElementSize(precision_);
  size_t gates = 0;
  std::vector<size_t> workspaces;
  for (const Block& block : blocks_) {
    gates = std::max(gates, block.GateScratch(batch));
    workspaces.push_back(block.Workspace(batch));
  }

  BatchBuffers buffers;
  const size_t pixels = images * shape_.height * shape_.width * 3;
  buffers.pixels = AllocateDevice(pixels);
  Check(cudaMemsetAsync(buffers.pixels.get(), 0, pixels, stream), "clearing pixels");
  MemoryPlan plan = plan_;
  if (Reader() == 1) plan.elements[1] = 0;  // The fused kernel does not write it.
  const BufferPlan maps = PlanBuffers(plan, images, element, workspaces);
  for (int i = 0; i < 2; ++i) buffers.maps[i] = AllocateDevice(maps.bytes[i]);
  buffers.workspace =
      static_cast<unsigned char*>(buffers.maps[maps.workspace_buffer].get()) + maps.workspace_offset;
  if (shape_.form == Form::kTrain) {
    const size_t largest = *std::max_element(plan_.elements.begin() + 1, plan_.elements.end());
    buffers.dense = AllocateDevice(images * largest * element);
    buffers.sampled = AllocateDevice(images * plan_.sizes[1].height * plan_.sizes[1].width * 3 * element);
  }
  buffers.gates = AllocateDevice(gates * sizeof(float));
  const int last_pixels = plan_.sizes.back().height * plan_.sizes.back().width;
  const size_t sums = images * PooledParts(last_pixels) * shape_.embedding_channels();
  buffers.pooled = AllocateDevice(blocks_.back().CanPool() ? sums * sizeof(double) : 0);
  return buffers;
}

void Forward::EnqueueFirst(const BatchBuffers& buffers, int batch, cudaStream_t stream) const {
  EnqueueBlock(buffers, Reader(), 0, batch, stream);
}

// Chained blocks pass the workspace on for as many images as fit it: a slice runs through the whole chain
// before the next slice does.
void Forward::EnqueueRest(const BatchBuffers& buffers, int batch, float* embeddings, float* logits,
                          cudaStream_t stream) const {
  for (size_t first = Reader() + 1, end; first < blocks_.size(); first = end) {
    int most = batch;
    for (end = first + 1; end < blocks_.size() && blocks_[end - 1].LeadsInto(blocks_[end]); ++end) {
      most = std::min({most, blocks_[end - 1].SliceImages(batch), blocks_[end].SliceImages(batch)});
    }
    for (int image = 0; image < batch; image += most) {
      for (size_t i = first; i < end; ++i) {
        EnqueueBlock(buffers, i, image, std::min(most, batch - image), stream);
      }
    }
  }

  const MapSize size = plan_.sizes.back();
  const int channels = shape_.embedding_channels(), pixels = size.height * size.width;
  const void* const map = buffers.maps[(blocks_.size() - 1) % 2].get();
  const auto* const pooled = static_cast<const double*>(buffers.pooled.get());
  Check(pooled == nullptr ? LaunchPool(map, precision_, batch, pixels, channels, embeddings, stream)
                          : LaunchPoolParts(pooled, batch, pixels, channels, embeddings, stream),
        "running the pooling");
  if (shape_.num_classes == 0) return;
  Check(LaunchLinear({embeddings, static_cast<const float*>(linear_weight_.get()),
                      static_cast<const float*>(linear_bias_.get()), logits, batch, shape_.num_classes,
                      channels, Activation::kNone},
                     stream),
        "running the classifier");
}

void Forward::EnqueueTopK(const float* logits, int batch, int k, int32_t* indices, float* scores,
                          cudaStream_t stream) const {
  Check(LaunchSoftmaxTopK(logits, batch, shape_.num_classes, k, indices, scores, stream),
        "ranking the classes");
}

// Map i, the input of block i, lies in buffer (i - 1) % 2.
void Forward::EnqueueBlock(const BatchBuffers& buffers, size_t index, int first, int batch,
                           cudaStream_t stream) const {
  const auto image_of = [&](size_t map) {
    return static_cast<unsigned char*>(buffers.maps[(map - 1) % 2].get()) +
           plan_.elements[map] * first * ElementSize(precision_);
  };
  BlockBuffers own;
  own.in = index == Reader() ? buffers.pixels.get() : image_of(index);
  if (index == 1 && Reader() == 1) own.ahead = &blocks_[0];
  own.out = image_of(index + 1);
  own.dense = buffers.dense.get();
  own.sampled = buffers.sampled.get();
  own.gates = static_cast<float*>(buffers.gates.get());
  own.workspace = buffers.workspace;
  if (index + 1 == blocks_.size()) own.pooled = static_cast<double*>(buffers.pooled.get());
  own.transformed_in = index > 0 && blocks_[index - 1].LeadsInto(blocks_[index]);
  own.transformed_out = index + 1 < blocks_.size() && blocks_[index].LeadsInto(blocks_[index + 1]);
  blocks_[index].Enqueue(own, batch, stream);
}

}  // namespace repvgg::cuda
