// Products of four warps, with operands in shared memory.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "test/emulator/async_operations.h"
#include "test/emulator/formats.h"
#include "test/emulator/warp_operations.h"

namespace repvgg::emulator {
namespace {

HiddenSums* FindSums(Fiber& fiber, const float* d) {
  for (HiddenSums& sums : fiber.sums) {
    if (sums.d == d) return &sums;
  }
  return nullptr;
}

// Of 32 bytes.
constexpr int kMostInner = 32;
int Inner(MmaType type) { return type == MmaType::kFp8 ? 32 : 16; }

// One row of an operand: 32 bytes of the reduction.
void ReadRow(MmaType type, uint64_t descriptor, int row, float (&out)[kMostInner]) {
  const int start = static_cast<int>(descriptor & 0x3fff) << 4;
  const int blocks = static_cast<int>(descriptor >> 32 & 0x3fff) << 4;
  if (descriptor >> 62 != 1) return Complain(Fault::kMisaligned, nullptr, "descriptor of another layout");
  for (int half = 0; half < 2; ++half) {
    const int address = start + row / 8 * blocks + row % 8 * 128 + half * 16;
    const unsigned char* const from = worker->own_shared() + (address ^ (address >> 7 & 7) << 4);
    CheckAsyncRead(from, 16, nullptr);
    if (type == MmaType::kFp8) {
      for (int i = 0; i < 16; ++i) out[half * 16 + i] = E4m3ToFloat(from[i]);
      continue;
    }
    uint16_t bits[8];
    std::memcpy(bits, from, 16);
    for (int i = 0; i < 8; ++i) {
      out[half * 8 + i] = type == MmaType::kHalf ? HalfToFloat(bits[i]) : BFloat16ToFloat(bits[i]);
    }
  }
}

void NoteProductReads(uint64_t descriptor, int first_row, int rows) {
  Worker& w = *worker;
  const int warp = w.current->thread / kWarp;
  const size_t start = w.current->rank * kMaxSharedBytes + (static_cast<size_t>(descriptor & 0x3fff) << 4);
  w.product_reads.resize(w.words.size() * 4 / 1024 + 1);
  for (size_t at = start / 1024 + first_row / 8; at <= start / 1024 + (first_row + rows - 1) / 8; ++at) {
    if (at < w.product_reads.size()) w.product_reads[at][warp] = w.clocks[warp].of[warp];
  }
}

constexpr int kMostColumns = 256;

// d[n] += sum of a[k] * b[k][n], as Hopper's tensor cores do it for e4m3: each product, and what was there
// before, keeps 14 bits below the power of two of the largest (DeepSeek-V3 Technical Report, section 3.3.2).
void AddCoarsely(const float (&a)[kMostInner], const float (&b)[kMostInner][kMostColumns], int columns,
                 float* d) {
  float largest[kMostColumns], unit[kMostColumns], inverse[kMostColumns];
  for (int n = 0; n < columns; ++n) largest[n] = std::abs(d[n]);
  for (int k = 0; k < kMostInner; ++k) {
    if (a[k] == 0) continue;  // Half of all values after ReLU.
    for (int n = 0; n < columns; ++n) largest[n] = std::max(largest[n], std::abs(a[k] * b[k][n]));
  }
  for (int n = 0; n < columns; ++n) {
    const uint32_t exponent = std::max(FloatToBits(largest[n]) >> 23, 20u);
    unit[n] = BitsToFloat((exponent - 13) << 23);
    inverse[n] = BitsToFloat((254 - (exponent - 13)) << 23);
    d[n] = std::trunc(d[n] * inverse[n]);
  }
  for (int k = 0; k < kMostInner; ++k) {
    if (a[k] == 0) continue;
    for (int n = 0; n < columns; ++n) d[n] += std::trunc(a[k] * b[k][n] * inverse[n]);
  }
  for (int n = 0; n < columns; ++n) d[n] *= unit[n];
}

// A warp's 16 of 64 rows.
void CarryOut(const PendingProduct& product, int first_thread) {
  Worker& w = *worker;
  const int quarter = first_thread % w.threads / kWarp % 4, columns = product.columns,
            inner = Inner(product.type);
  // On the heap: too much for a fiber's stack, and for the thread-local memory of a library that is loaded
  // late.
  struct Values {
    float b[kMostInner][kMostColumns], d[16][kMostColumns];
  };
  static thread_local const std::unique_ptr<Values> values = std::make_unique<Values>();
  auto& [b, d] = *values;
  for (int n = 0; n < columns; ++n) {
    float row[kMostInner];
    ReadRow(product.type, product.b, n, row);
    for (int k = 0; k < inner; ++k) b[k][n] = row[k];
  }
  // This lane's part of d.
  const auto for_each_sum = [&](auto work) {
    for (int lane = 0; lane < kWarp; ++lane) {
      Fiber& fiber = *w.fibers[first_thread + lane];
      HiddenSums& sums = *FindSums(fiber, fiber.products.front().d);
      for (int i = 0; i < columns / 2; ++i) {
        work(sums.values[i], d[lane / 4 + i / 2 % 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2]);
      }
    }
  };
  for (int m = 0; m < 16; ++m) std::fill_n(d[m], columns, 0.0f);
  if (product.type == MmaType::kFp8 && product.adds) {
    for_each_sum([](float value, float& sum) { sum = value; });
  }
  for (int m = 0; m < 16; ++m) {
    float a[kMostInner];
    ReadRow(product.type, product.a, quarter * 16 + m, a);
    if (product.type == MmaType::kFp8) {
      AddCoarsely(a, b, columns, d[m]);
      continue;
    }
    for (int k = 0; k < inner; ++k) {
      if (a[k] == 0) continue;  // Half of all values after ReLU.
      for (int n = 0; n < columns; ++n) d[m][n] += a[k] * b[k][n];
    }
  }
  NoteProductReads(product.a, quarter * 16, 16);
  NoteProductReads(product.b, 0, columns);
  const bool keeps = product.type != MmaType::kFp8 && product.adds;
  for_each_sum([&](float& value, float sum) { value = keeps ? value + sum : sum; });
}

}  // namespace

void FenceProducts() { worker->current->products_fenced = true; }
void CommitProducts() { ++worker->current->product_group; }

void Multiply64(MmaType type, int columns, float* d, uint64_t a, uint64_t b, bool adds) {
  Fiber& fiber = *worker->current;
  if (FindSums(fiber, d) == nullptr) {
    if (!fiber.products_fenced)
      Complain(Fault::kRace, HERE, "wgmma of registers that were used before, unfenced");
    fiber.sums.push_back({d, {d, d + columns / 2}});
    std::fill_n(d, columns / 2, std::numeric_limits<float>::quiet_NaN());
  }
  fiber.products.push_back({type, columns, d, a, b, adds, fiber.product_group});
}

void WaitProducts(int pending) {
  const auto due = [&](const Fiber& fiber) {
    return !fiber.products.empty() &&
           static_cast<int>(fiber.product_group - fiber.products.front().group) > pending;
  };
  Together(
      WarpOperation::kWgmma, ~0u, [](Warp&, int) {},
      [&](Warp&) {
        Worker& w = *worker;
        const int first = w.current->thread / kWarp * kWarp;
        while (due(*w.fibers[first])) {
          const PendingProduct product = w.fibers[first]->products.front();
          for (int lane = 1; lane < kWarp; ++lane) {
            const Fiber& fiber = *w.fibers[first + lane];
            if (!due(fiber) || fiber.products.front().a != product.a ||
                fiber.products.front().b != product.b) {
              return Complain(Fault::kDivergence, HERE, "lanes of a warp have different products");
            }
          }
          CarryOut(product, first);
          for (int lane = 0; lane < kWarp; ++lane) {
            std::vector<PendingProduct>& products = w.fibers[first + lane]->products;
            products.erase(products.begin());
          }
        }
      });
  Fiber& fiber = *worker->current;
  fiber.products_fenced = false;
  std::erase_if(fiber.sums, [&](const HiddenSums& sums) {
    for (const PendingProduct& product : fiber.products) {
      if (product.d == sums.d) return false;
    }
    std::copy(sums.values.begin(), sums.values.end(), sums.d);
    return true;
  });
}

}  // namespace repvgg::emulator
