// Direct convolution and the element-wise kernels, written once with the compiler's vector types. A source
// file that includes this defines kLanes (floats per vector), kRows and kWideRows (pixels per register tile
// of 2 and of 3 vectors) and kTableName, and is compiled for one instruction set.
//
// Everything here is in an unnamed namespace and calls no inline function of the standard library: an inline
// function with external linkage that was compiled for AVX-512 could be the copy the linker keeps for
// everybody.
//
// Convolve keeps a tile of up to kRows pixels x 2 vectors or kWideRows x 3 vectors of output channels in
// registers over the whole sum: per input channel it loads the vectors of weights and broadcasts one value
// per pixel, which each takes part in that many fused multiply-adds. The order of additions for one output is
// always tap, then input channel: it does not depend on the tile, the thread or the batch, so results are
// equal to the bit however work is split.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#include "cpu/kernels.h"

namespace repvgg::cpu {
namespace {

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

// Pixels (tiles) of the register tile that is so many vectors of output channels wide.
constexpr int RowsOf(int vectors) { return vectors == 2 ? kRows : kWideRows; }

// Products that are added up one after another before their sum joins the total: a chain of 5760 additions,
// as of 640 channels, rounds more than two chains of 64 and 90 do. Measured on seeded weights, relative L2 of
// the logits: RepVGG-A0 3.2e-6 without and 1.4e-6 with it, RepVGG-D2se 2.7e-5 and 9.3e-6.
constexpr int kTermsInARow = 64;

constexpr int kLineFloats = 16;  // In a cache line.

inline Vector Load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void Store(float* to, Vector v) { std::memcpy(to, &v, sizeof v); }
inline Vector Relu(Vector v) { return v < 0.0f ? Vector{} : v; }  // NaN stays NaN, as in PyTorch.
inline float Relu(float v) { return v < 0.0f ? 0.0f : v; }

// A kernel for each number of pixels or tiles from 1 to RowsOf(kVectors).
template <template <int, int> class Kernel, int kVectors,
          class Sizes = std::make_integer_sequence<int, RowsOf(kVectors)>>
struct SizeTable;
template <template <int, int> class Kernel, int kVectors, int... kSizes>
struct SizeTable<Kernel, kVectors, std::integer_sequence<int, kSizes...>> {
  static constexpr decltype(+Kernel<1, kVectors>::Run) kFunctions[] = {Kernel<kSizes + 1, kVectors>::Run...};
};

// Computes kLines lines of kPixels pixels each. `channels` of the block are stored, which may be fewer than
// its kVectors * kLanes.
template <int kLines, int kPixels, int kVectors>
void ConvolveTile(const Convolution& convolution, const Pixels<float>* lines, ptrdiff_t in_row,
                  ptrdiff_t group_offset, const float* weight, const float* bias, const float* next,
                  bool relu, ptrdiff_t out_offset, int channels) {
  constexpr int kTile = kLines * kPixels;
  Vector total[kTile][kVectors];
  Vector sum[kTile][kVectors] = {};
  for (int p = 0; p < kTile; ++p) {
    for (int v = 0; v < kVectors; ++v) total[p][v] = Load(bias + v * kLanes);
  }
  const ptrdiff_t pixel = static_cast<ptrdiff_t>(convolution.stride) * convolution.in_channels;
  int terms = 0;
  for (int run = 0; run < convolution.runs; ++run) {
    const ptrdiff_t offset = convolution.run[run].row * in_row + convolution.run[run].offset + group_offset;
    const float* x[kLines];
    for (int line = 0; line < kLines; ++line) x[line] = lines[line].in + offset;
    for (int first = 0; first < convolution.run_length; first += kTermsInARow) {
      const int left = convolution.run_length - first;
      const int count = left < kTermsInARow ? left : kTermsInARow;
      for (int c = first; c < first + count; ++c) {
        Vector w[kVectors];
        for (int v = 0; v < kVectors; ++v) w[v] = Load(weight + v * kLanes);
        weight += kVectors * kLanes;
        __builtin_prefetch(next, 0, 2);
        next += kLineFloats;
        for (int line = 0; line < kLines; ++line) {
          for (int p = 0; p < kPixels; ++p) {
            const Vector value = x[line][p * pixel + c] - Vector{};
            for (int v = 0; v < kVectors; ++v) sum[line * kPixels + p][v] += value * w[v];
          }
        }
      }
      terms += count;
      if (terms < kTermsInARow && run + 1 < convolution.runs) continue;
      terms = 0;
      for (int p = 0; p < kTile; ++p) {
        for (int v = 0; v < kVectors; ++v) {
          total[p][v] += sum[p][v];
          sum[p][v] = Vector{};
        }
      }
    }
  }
  for (int line = 0; line < kLines; ++line) {
    for (int p = 0; p < kPixels; ++p) {
      float* to = lines[line].out + out_offset + static_cast<ptrdiff_t>(p) * convolution.out_channels;
      for (int v = 0; v < kVectors; ++v) {
        const Vector sums = total[line * kPixels + p][v];
        const Vector value = relu ? Relu(sums) : sums;
        if ((v + 1) * kLanes <= channels) {
          Store(to + v * kLanes, value);
        } else {
          for (int i = v * kLanes; i < channels; ++i) to[i] = value[i - v * kLanes];
        }
      }
    }
  }
}

template <int kPixels, int kVectors>
struct ConvolveLine {
  static constexpr auto Run = &ConvolveTile<1, kPixels, kVectors>;
};
template <int kPixels, int kVectors>
struct ConvolveTwoLines {
  static constexpr auto Run = &ConvolveTile<2, kPixels, kVectors>;
};

template <int kVectors>
void Convolve(const Convolution& convolution, ptrdiff_t in_row, int group, int block, int call,
              const Pixels<float>& first, const Pixels<float>& second, int pixels, bool relu) {
  constexpr int kBlock = kVectors * kLanes;
  const ptrdiff_t index = static_cast<ptrdiff_t>(group) * convolution.blocks + block;
  const ptrdiff_t terms = static_cast<ptrdiff_t>(convolution.runs) * convolution.run_length;
  const float* weight = convolution.weight + index * terms * kBlock;
  // Meanwhile the next block's weights are fetched, a share of them in each of the first kVectors calls.
  const float* next = weight + terms * kBlock + call % kVectors * terms * kLineFloats;
  const float* bias = convolution.bias + index * kBlock;
  const int channel = block * kBlock;
  const int left = convolution.group_out - channel;
  const int channels = left < kBlock ? left : kBlock;
  const ptrdiff_t group_offset = static_cast<ptrdiff_t>(group) * convolution.group_in;
  const ptrdiff_t out_offset = static_cast<ptrdiff_t>(group) * convolution.group_out + channel;
  const Pixels<float> lines[] = {first, second};
  if (second.in != nullptr && 2 * pixels <= RowsOf(kVectors)) {
    using Table =
        SizeTable<ConvolveTwoLines, kVectors, std::make_integer_sequence<int, RowsOf(kVectors) / 2>>;
    Table::kFunctions[pixels - 1](convolution, lines, in_row, group_offset, weight, bias, next, relu,
                                  out_offset, channels);
    return;
  }
  for (const Pixels<float>& line : lines) {
    if (line.in == nullptr) break;
    SizeTable<ConvolveLine, kVectors>::kFunctions[pixels - 1](convolution, &line, in_row, group_offset,
                                                              weight, bias, next, relu, out_offset, channels);
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

void MatrixVector(const float* weight, const float* bias, const float* in, int rows, int columns,
                  float* out) {
  for (int r = 0; r < rows; ++r, weight += columns) {
    constexpr int kSums = 4;  // One chain of additions would wait for itself.
    Vector sum[kSums] = {};
    int c = 0;
    for (; c + kSums * kLanes <= columns; c += kSums * kLanes) {
      for (int i = 0; i < kSums; ++i) sum[i] += Load(weight + c + i * kLanes) * Load(in + c + i * kLanes);
    }
    for (; c + kLanes <= columns; c += kLanes) sum[0] += Load(weight + c) * Load(in + c);
    const Vector all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    float total = bias[r];
    for (int i = 0; i < kLanes; ++i) total += all[i];
    for (; c < columns; ++c) total += weight[c] * in[c];
    out[r] = total;
  }
}

}  // namespace
}  // namespace repvgg::cpu

#include "cpu/winograd_impl.h"

namespace repvgg::cpu {
namespace {

constexpr KernelTable kTable = {
    .name = kTableName,
    .lanes = kLanes,
    .narrow = {2 * kLanes, RowsOf(2), &Convolve<2>, &WinogradMultiply<2>},
    .wide = {3 * kLanes, RowsOf(3), &Convolve<3>, &WinogradMultiply<3>},
    .winograd2 = {&WinogradInput<2>, &WinogradOutput<2>},
    .winograd4 = {&WinogradInput<4>, &WinogradOutput<4>},
    .sum_branches = &SumBranches,
    .maps = {&Gate, &SumPixels},
    .matrix_vector = &MatrixVector,
};

}  // namespace
}  // namespace repvgg::cpu
