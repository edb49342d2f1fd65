// The matrix product at the core of all fp32 convolutions: a few rows of values times a block of weights,
// with the sums in registers. Included by kernels_impl.h, whose rules apply.
//
// A tile has 2 to kMostVectors vectors of output channels for each of up to kRowsOf[vectors - 2] rows. Per
// value of a row it loads the vectors of weights and broadcasts one value per row, which is used in that many
// fused multiply-adds. Loop overhead would be significant, so loops are unrolled kStep times, with prefetches
// in between.
#include <utility>

namespace repvgg::cpu {
namespace {

// Rows of the register tile with this many vectors of output channels.
constexpr int kMostVectors = 1 + sizeof kRowsOf / sizeof kRowsOf[0];
constexpr int RowsOf(int vectors) { return kRowsOf[vectors - 2]; }

// Products accumulated in sequence before their sum is added to the total: a chain of 5760 additions (640
// channels) accumulates more rounding error than chains of 64 and then 90. Measured on seeded weights,
// relative L2 error of the logits: RepVGG-A0 3.2e-6 without and 1.4e-6 with it, RepVGG-D2se 2.7e-5
// and 9.3e-6.
constexpr int kTermsInARow = 64;

constexpr int kStep = 8;
constexpr int kLineFloats = 16;  // In a cache line.

// sum += a * b. In unrolled code GCC would put the results into other registers and copy them back, on the
// ports of the multiplier.
inline void MultiplyAdd(Vector& sum, Vector a, Vector b) {
#ifdef __FMA__
  asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
  sum += a * b;
#endif
}

#ifdef __aarch64__
// sum += a * lane kLane of b, without a broadcast.
template <int kLane>
inline void MultiplyAddLane(Vector& sum, Vector a, Vector b) {
  asm("fmla %0.4s, %1.4s, %2.s[%3]" : "+w"(sum) : "w"(a), "w"(b), "i"(kLane));
}
#endif

// Prefetched while a tile is computed, for every kStep values: the rows of the next tile into the L1 cache,
// and `lines`, at least kStreamLines, of each stream, needed later, into the L2 cache. Spread out, since a
// burst of prefetches would delay loads.
constexpr int kStreams = 3;
constexpr int kStreamLines = 2;
struct Fetch {
  const float* rows;
  const float* streams[kStreams];
  int lines = kStreamLines;
};

inline const float* Share(const float* from, ptrdiff_t lines, int part, int parts) {
  return from + lines * part / parts * kLineFloats;
}

// sum[row][0..block) = x[row][0..depth) * w[0..depth)[0..block), block = kVectors * kLanes; with `add`, added
// to what is there. Rows are kLines lines of kColumns columns, a distance apart.
template <int kLines, int kColumns, int kVectors>
struct Products {
  static constexpr int kTile = kLines * kColumns;

#ifdef __aarch64__
  // Adds one value of each row times its weights.
  template <int kLane>
  __attribute__((always_inline)) static void MultiplyLane(Vector (&tile)[kTile][kVectors],
                                                          const Vector (&values)[kTile], const float* w) {
    Vector weight[kVectors];
    for (int v = 0; v < kVectors; ++v) weight[v] = Load(w + (kLane * kVectors + v) * kLanes);
    for (int row = 0; row < kTile; ++row) {
      for (int v = 0; v < kVectors; ++v) MultiplyAddLane<kLane>(tile[row][v], weight[v], values[row]);
    }
  }
#endif

  static void Run(const float* x, ptrdiff_t line, ptrdiff_t column, int depth, const float* w, float* sum,
                  ptrdiff_t sum_row, bool add, const Fetch& next) {
    constexpr int kRowLines = (kTile * kStep + kLineFloats - 1) / kLineFloats;
    const float* rows = next.rows;
    const float* const stream[kStreams] = {next.streams[0], next.streams[1], next.streams[2]};
    ptrdiff_t ahead = 0;
    for (int first = 0; first < depth; first += kTermsInARow) {
      const int last = depth - first < kTermsInARow ? depth : first + kTermsInARow;
      Vector tile[kTile][kVectors] = {};
      const auto multiply = [&](int c) __attribute__((always_inline)) {
        Vector weight[kVectors];
        for (int v = 0; v < kVectors; ++v) weight[v] = Load(w + v * kLanes);
        w += kVectors * kLanes;
        for (int row = 0; row < kTile; ++row) {
          const Vector value = x[row / kColumns * line + row % kColumns * column + c] - Vector{};
          for (int v = 0; v < kVectors; ++v) MultiplyAdd(tile[row][v], value, weight[v]);
        }
      };
      int c = first;
      for (; c + kStep <= last; c += kStep) {
        for (int i = 0; i < kRowLines; ++i) __builtin_prefetch(rows + i * kLineFloats, 0, 3);
        rows += kRowLines * kLineFloats;
        for (int i = 0; i < kStreamLines; ++i, ahead += kLineFloats) {
          for (int s = 0; s < kStreams; ++s) __builtin_prefetch(stream[s] + ahead, 0, 2);
        }
#pragma GCC unroll 1
        for (int i = kStreamLines; i < next.lines; ++i, ahead += kLineFloats) {
          for (int s = 0; s < kStreams; ++s) __builtin_prefetch(stream[s] + ahead, 0, 2);
        }
#ifdef __aarch64__
        for (int i = 0; i < kStep; i += 4, w += 4 * kVectors * kLanes) {
          Vector values[kTile];  // Four of each row.
          for (int row = 0; row < kTile; ++row)
            values[row] = Load(x + row / kColumns * line + row % kColumns * column + c + i);
          MultiplyLane<0>(tile, values, w);
          MultiplyLane<1>(tile, values, w);
          MultiplyLane<2>(tile, values, w);
          MultiplyLane<3>(tile, values, w);
        }
#else
#pragma GCC unroll 8
        for (int i = 0; i < kStep; ++i) multiply(c + i);
#endif
      }
#pragma GCC unroll 1
      for (; c < last; ++c) multiply(c);
      for (int row = 0; row < kTile; ++row) {
        for (int v = 0; v < kVectors; ++v) {
          float* to = sum + row * sum_row + v * kLanes;
          Store(to, add ? Load(to) + tile[row][v] : tile[row][v]);
        }
      }
      add = true;
    }
  }
};

// Products<kLines, n, kVectors> for each number of columns n, from 1 on.
template <int kLines, int kVectors,
          class Columns = std::make_integer_sequence<int, RowsOf(kVectors) / kLines>>
struct ProductsTable;
template <int kLines, int kVectors, int... kColumns>
struct ProductsTable<kLines, kVectors, std::integer_sequence<int, kColumns...>> {
  static constexpr decltype(&Products<kLines, 1, kVectors>::Run) kOf[] = {
      Products<kLines, kColumns + 1, kVectors>::Run...};
};

}  // namespace
}  // namespace repvgg::cpu
