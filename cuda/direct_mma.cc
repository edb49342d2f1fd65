#include "cuda/direct_mma.h"

#include <cstring>

#include "cuda/formats.h"

namespace repvgg::cuda {

extern const std::span<const ConvolutionTile> kDirectMmaFp16, kDirectMmaBf16, kDirectMmaTf32;

std::span<const ConvolutionTile> DirectMmaTileTable(Precision precision) {
  if (precision == Precision::kFp16) return kDirectMmaFp16;
  return precision == Precision::kBf16 ? kDirectMmaBf16 : kDirectMmaTf32;
}

std::vector<unsigned char> PackDirectMma(const Convolution& layer, const float* weight, Precision precision) {
  const int size = ElementSize(precision);
  const int per_chunk = 16 / size;
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const int chunks = DivideUp(group_in, per_chunk);
  const int steps = ReductionSteps(group_in, per_chunk);
  std::vector<unsigned char> packed(static_cast<size_t>(layer.groups) * steps * group_out * kStepChunks * 16);
  for (int group = 0; group < layer.groups; ++group) {
    ReductionPosition position(chunks);
    for (int i = 0; i < steps * kStepChunks && position.block_chunks > 0; ++i) {
      const int first = (position.first_chunk + position.chunk) * per_chunk;
      for (int k = 0; k < group_out; ++k) {
        const size_t row = (static_cast<size_t>(group) * steps + i / kStepChunks) * group_out + k;
        unsigned char* const to = &packed[(row * kStepChunks + i % kStepChunks) * 16];
        const float* const from = weight + static_cast<size_t>(group * group_out + k) * group_in * 9;
        for (int e = 0; e < per_chunk && first + e < group_in; ++e) {
          const uint32_t bits = FormatBits(from[(first + e) * 9 + position.tap], precision);
          std::memcpy(to + e * size, &bits, size);  // Little-endian, like the GPU.
        }
      }
      position.Advance(1, chunks);
    }
  }
  return packed;
}

}  // namespace repvgg::cuda
