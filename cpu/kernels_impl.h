// Direct convolution and the element-wise kernels, written once with the compiler's vector types. A source
// file that includes this defines kLanes (floats per vector), kRowsOf (products_impl.h) and kTableName, and
// is compiled for one instruction set.
//
// Everything here is in an unnamed namespace and calls no inline functions of the standard library: the
// linker keeps only one copy of an inline function with external linkage, and that could be the one compiled
// for AVX-512.
//
// The order of additions for one output is always tap, then input channel: it does not depend on the tile,
// the thread or the batch, so results are equal to the bit however work is split.
#include <cstddef>
#include <cstring>

#include "cpu/kernels.h"

namespace repvgg::cpu {
namespace {

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

inline Vector Load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void Store(float* to, Vector v) { std::memcpy(to, &v, sizeof v); }

// Stores the first `channels` of a vector, or all where there are more.
inline void StoreChannels(float* to, Vector v, int channels) {
  if (channels >= kLanes) {
    Store(to, v);
  } else {
    for (int i = 0; i < channels; ++i) to[i] = v[i];
  }
}
inline Vector Relu(Vector v) { return v < 0.0f ? Vector{} : v; }  // NaN stays NaN, as in PyTorch.
inline float Relu(float v) { return v < 0.0f ? 0.0f : v; }

}  // namespace
}  // namespace repvgg::cpu

#include "cpu/products_impl.h"

namespace repvgg::cpu {
namespace {

// Adds the bias to the sums of `pixels` pixels, [pixel][channel of the block], and stores the channels that
// the group has from `channel` on. `out` is that channel of the first pixel.
template <int kVectors>
inline void StoreSums(const Convolution& convolution, const float* sum, const float* bias, int channel,
                      int pixels, bool relu, float* out) {
  const int channels = convolution.group_out - channel;
  for (int p = 0; p < pixels; ++p, sum += kVectors * kLanes, out += convolution.out_channels) {
    for (int v = 0; v < kVectors; ++v) {
      const Vector value = Load(sum + v * kLanes) + Load(bias + v * kLanes);
      StoreChannels(out + v * kLanes, relu ? Relu(value) : value, channels - v * kLanes);
    }
  }
}

template <int kVectors>
void Convolve(const Convolution& convolution, ptrdiff_t in_row, int group, int block, const Turn& turn,
              const Pixels& first, const Pixels& second, int pixels, bool relu) {
  constexpr int kBlock = kVectors * kLanes;
  const bool two_rows = second.in != nullptr;
  if (two_rows && 2 * pixels > RowsOf(kVectors)) {
    Convolve<kVectors>(convolution, in_row, group, block, turn, first, {}, pixels, relu);
    Convolve<kVectors>(convolution, in_row, group, block, turn, second, {}, pixels, relu);
    return;
  }
  const auto products =
      two_rows ? ProductsTable<2, kVectors>::kOf[pixels - 1] : ProductsTable<1, kVectors>::kOf[pixels - 1];
  const ptrdiff_t row_distance = two_rows ? second.in - first.in : 0;
  const ptrdiff_t pixel_distance = static_cast<ptrdiff_t>(convolution.stride) * convolution.in_channels;

  const int depth = convolution.run_length;
  const ptrdiff_t index = static_cast<ptrdiff_t>(group) * convolution.blocks + block;
  const ptrdiff_t block_size = static_cast<ptrdiff_t>(convolution.runs) * depth * kBlock;
  const float* weight = convolution.weight + index * block_size;
  // The lines of the next block's weights that this call fetches, in as many streams as `products` has.
  const ptrdiff_t run_lines = depth / kStep * kStreamLines;
  const float* next = Share(weight + block_size, block_size / kLineFloats, turn.number, turn.of);

  alignas(sizeof(Vector)) float sums[RowsOf(kVectors) * kBlock];
  for (int run = 0; run < convolution.runs; ++run) {
    const ptrdiff_t offset = convolution.run[run].row * in_row + convolution.run[run].offset +
                             static_cast<ptrdiff_t>(group) * convolution.group_in;
    products(
        first.in + offset, row_distance, pixel_distance, depth, weight, sums, kBlock, run > 0,
        {turn.next + offset, {next, next + run_lines * kLineFloats, next + 2 * run_lines * kLineFloats}});
    weight += static_cast<ptrdiff_t>(depth) * kBlock;
    next += kStreams * run_lines * kLineFloats;
  }

  const float* const bias = convolution.bias + index * kBlock;
  const int channel = block * kBlock;
  const ptrdiff_t out = static_cast<ptrdiff_t>(group) * convolution.group_out + channel;
  const Pixels rows[] = {first, second};
  for (int r = 0; r < 1 + two_rows; ++r) {
    StoreSums<kVectors>(convolution, sums + r * pixels * kBlock, bias, channel, pixels, relu,
                        rows[r].out + out);
  }
}

void SumBranches(const float* const* in, const float* const* scale, const float* const* shift, int branches,
                 int channels, int pixels, bool relu, float* out) {
  for (int p = 0; p < pixels; ++p) {
    const size_t offset = static_cast<size_t>(p) * channels;
    for (int c = 0; c < channels; ++c) {
      float sum = 0;
      for (int b = 0; b < branches; ++b) sum += in[b][offset + c] * scale[b][c] + shift[b][c];
      out[offset + c] = relu ? Relu(sum) : sum;
    }
  }
}

void Gate(float* data, const float* gate, int channels, int pixels, bool relu) {
  for (int p = 0; p < pixels; ++p, data += channels) {
    for (int c = 0; c < channels; ++c) {
      const float value = data[c] * gate[c];
      data[c] = relu ? Relu(value) : value;
    }
  }
}

void SumPixels(const float* data, int channels, int pixels, float* sum) {
  for (int p = 0; p < pixels; ++p, data += channels) {
    for (int c = 0; c < channels; ++c) sum[c] += data[c];
  }
}

// Pairwise, since a single chain of additions would be bound by latency.
inline float SumOfLanes(Vector vector) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = vector[i];
  for (int count = kLanes / 2; count > 0; count /= 2) {
    for (int i = 0; i < count; ++i) lanes[i] += lanes[i + count];
  }
  return lanes[0];
}

// Every row's result is independent of kRows.
template <int kRows>
void MultiplyRows(const float* weight, const float* bias, const float* in, int columns, float* out) {
  constexpr int kSums = 2;
  Vector sum[kRows][kSums] = {};
  int c = 0;
  for (; c + kSums * kLanes <= columns; c += kSums * kLanes) {
    for (int i = 0; i < kSums; ++i) {
      const Vector values = Load(in + c + i * kLanes);
      for (int r = 0; r < kRows; ++r) sum[r][i] += Load(weight + r * columns + c + i * kLanes) * values;
    }
  }
  for (int r = 0; r < kRows; ++r, weight += columns) {
    float total = bias[r] + SumOfLanes(sum[r][0] + sum[r][1]);
    for (int i = c; i < columns; ++i) total += weight[i] * in[i];
    out[r] = total;
  }
}

void MatrixVector(const float* weight, const float* bias, const float* in, int rows, int columns,
                  float* out) {
  constexpr int kTogether = 4;
  int r = 0;
  for (; r + kTogether <= rows; r += kTogether) {
    MultiplyRows<kTogether>(weight + static_cast<ptrdiff_t>(r) * columns, bias + r, in, columns, out + r);
  }
  for (; r < rows; ++r)
    MultiplyRows<1>(weight + static_cast<ptrdiff_t>(r) * columns, bias + r, in, columns, out + r);
}

}  // namespace
}  // namespace repvgg::cpu

#include "cpu/winograd_impl.h"

namespace repvgg::cpu {
namespace {

template <int kVectors>
constexpr BlockKernels MakeBlocks() {
  return {kVectors * kLanes, RowsOf(kVectors), &Convolve<kVectors>, &WinogradMultiply<kVectors>};
}

constexpr KernelTable kTable = {
    .name = kTableName,
    .lanes = kLanes,
    .blocks = {MakeBlocks<2>(), MakeBlocks<3>(), MakeBlocks<kMostVectors>()},
    .winograd2x2 = {&WinogradInput<2, 2>, &WinogradOutput<2, 2>},
    .winograd4x2 = {&WinogradInput<4, 2>, &WinogradOutput<4, 2>},
    .winograd4x4 = {&WinogradInput<4, 4>, &WinogradOutput<4, 4>},
    .sum_branches = &SumBranches,
    .gate = &Gate,
    .sum_pixels = &SumPixels,
    .matrix_vector = &MatrixVector,
};

}  // namespace
}  // namespace repvgg::cpu
