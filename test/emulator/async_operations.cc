#include "test/emulator/async_operations.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "test/emulator/fiber.h"
#include "test/emulator/formats.h"
#include "test/emulator/tensor_map_emulated.h"
#include "test/emulator/warp_operations.h"

namespace repvgg::emulator {
namespace {

#define HERE __builtin_return_address(0)

void Wake(std::vector<int>& threads) {
  for (const int thread : threads) worker->warps[thread / kWarp].ready |= 1u << thread % kWarp;
  threads.clear();
}

void Sleep(std::vector<int>& waiting) {
  Worker& w = *worker;
  waiting.push_back(w.current->thread);
  w.warp().ready &= ~(1u << w.lane());
  w.Block();
}

// What this warp did so far is part of what others learn; what it does from now on is not.
Clock Release() {
  Worker& w = *worker;
  Clock& own = w.clocks[w.current->thread / kWarp];
  Clock released = own;
  if (w.current->previous_ended) released.of[kPreviousKernel] = 1;
  ++own.of[w.current->thread / kWarp];
  return released;
}

void EndPhaseIfComplete(Barrier& barrier) {
  if (barrier.missing > 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.missing = barrier.arrivals;
  barrier.arriving.of[kMaxWarps + barrier.index] = barrier.phase;
  barrier.arrived = barrier.arriving;
  Wake(barrier.waiting);
}

// In block `rank`, where this block has `address`.
Barrier* Find(const void* address, int rank, const void* place) {
  Worker& w = *worker;
  const auto offset = static_cast<const unsigned char*>(address) - w.own_shared();
  const auto found = w.barriers.find(w.SharedOf(rank) + offset);
  if (found == w.barriers.end()) {
    Complain(Fault::kUninitialised, place, "barrier in shared memory that nobody initialised");
    return nullptr;
  }
  Barrier* const barrier = found->second.get();
  if (rank != w.current->rank && w.clocks[w.current->thread / kWarp].of[barrier->maker] < barrier->made) {
    Complain(Fault::kRace, place, "barrier of another block that may not be initialised yet");
  }
  return barrier;
}
Barrier* Find(const void* address, const void* place) { return Find(address, worker->current->rank, place); }

void Arrive(Barrier& barrier, int expected_bytes, const void* place) {
  barrier.arriving.Join(Release());
  barrier.bytes += expected_bytes;
  if (--barrier.missing < 0)
    Complain(Fault::kDivergence, place, "more arrivals at a barrier than it waits for");
  EndPhaseIfComplete(barrier);
}

// Rows that lie one after the other in shared memory, before swizzling.
template <typename Copy>
void ForEachRow(const cuda::TensorMap& map, const Coordinates& at, Copy copy) {
  const EncodedMap& encoded = Decode(map);
  const int size = encoded.element;
  if (encoded.kind == EncodedMap::kTiled) {
    const cuda::TiledArray& array = encoded.tiled;
    const int row_elements = static_cast<int>(array.box[0]);
    int row = 0;
    for (int i3 = at[3]; i3 < at[3] + static_cast<int>(array.box[3]); ++i3) {
      for (int i2 = at[2]; i2 < at[2] + static_cast<int>(array.box[2]); ++i2) {
        for (int i1 = at[1]; i1 < at[1] + static_cast<int>(array.box[1]); ++i1, ++row) {
          const auto inside = [&](int index, int dimension) {
            return index >= 0 && static_cast<uint64_t>(index) < array.size[dimension];
          };
          const bool valid = inside(i1, 1) && inside(i2, 2) && inside(i3, 3) && inside(at[0], 0);
          const int elements = valid ? std::min(row_elements, static_cast<int>(array.size[0]) - at[0]) : 0;
          const int64_t offset = valid ? i1 * static_cast<int64_t>(array.stride[0]) +
                                             i2 * static_cast<int64_t>(array.stride[1]) +
                                             i3 * static_cast<int64_t>(array.stride[2]) + size * at[0]
                                       : 0;
          copy(row, row_elements * size, static_cast<const unsigned char*>(array.base) + offset,
               elements * size);
        }
      }
    }
    return;
  }
  const cuda::PixelArray& array = encoded.pixels;
  // The first tap of the first window of a line, and of the last that may be.
  constexpr int kLower = -1;
  const int last_x = array.width - 2, last_y = array.height - 2;
  int x = at[1], y = at[2], image = at[3];
  if (x < kLower || x > last_x || y < kLower || y > last_y) {
    Complain(Fault::kOutOfBounds, nullptr, "TMA load that starts outside the map of pixels");
  }
  for (int row = 0; row < array.box_pixels; ++row) {
    const int from_x = x + at[4], from_y = y + at[5];
    const bool valid = from_x >= 0 && from_x < array.width && from_y >= 0 && from_y < array.height &&
                       image >= 0 && image < array.batch && at[0] < array.channels;
    const int elements = valid ? std::min(128 / size, array.channels - at[0]) : 0;
    const int64_t pixel =
        valid ? (static_cast<int64_t>(image) * array.height + from_y) * array.width + from_x : 0;
    copy(row, 128,
         static_cast<const unsigned char*>(array.base) +
             size * (pixel * array.pixel_elements + (valid ? at[0] : 0)),
         elements * size);
    if ((x += array.stride) > last_x) {
      x = kLower;
      if ((y += array.stride) > last_y) y = kLower, ++image;
    }
  }
}

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
    CheckAsyncRead(from, 16, false, nullptr);
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
  static thread_local float b[kMostInner][kMostColumns], d[16][kMostColumns];
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

void InitBarrier(uint64_t* address, int arrivals) {
  auto barrier = std::make_unique<Barrier>();
  barrier->index = static_cast<int>(worker->barriers.size());
  barrier->arrivals = barrier->missing = arrivals;
  barrier->rank = worker->current->rank;
  barrier->maker = worker->current->thread / kWarp;
  barrier->made = worker->clocks[barrier->maker].of[barrier->maker];
  const size_t offset = reinterpret_cast<unsigned char*>(address) - worker->own_shared();
  if (offset % 8 != 0) Complain(Fault::kMisaligned, HERE, "barrier in shared memory");
  if (offset + 8 > worker->shared_bytes || barrier->index >= kMaxBarriers) {
    return Complain(Fault::kOutOfBounds, HERE, "barrier beyond shared memory");
  }
  worker->barriers[address] = std::move(barrier);
}

void ArriveAtBarrier(uint64_t* address, int expected_bytes) {
  if (Barrier* const barrier = Find(address, HERE)) Arrive(*barrier, expected_bytes, HERE);
}

void ArriveAtBarrierOf(int rank, uint64_t* address) {
  Worker& w = *worker;
  if (rank < 0 || rank >= static_cast<int>(w.blocks.size())) {
    return Complain(Fault::kOutOfBounds, HERE, "block " + std::to_string(rank) + " of a cluster");
  }
  Barrier* const barrier = Find(address, rank, HERE);
  if (barrier == nullptr) return;
  const int warp = w.current->thread / kWarp;
  if (rank != w.current->rank) w.blocks[rank].reached[warp] = w.clocks[warp].of[warp];
  Arrive(*barrier, 0, HERE);
}

void WaitAtBarrier(uint64_t* address, unsigned parity) {
  Barrier* const barrier = Find(address, HERE);
  if (barrier == nullptr) return;
  while ((barrier->phase & 1) == (parity & 1)) Sleep(barrier->waiting);
  worker->clocks[worker->current->thread / kWarp].Join(barrier->arrived);
}

void NamedBarrier(int number, int threads) {
  Worker& w = *worker;
  std::vector<int>& waiting = w.block().named[number].waiting;
  if (static_cast<int>(waiting.size()) + 1 < threads) return Sleep(waiting);
  waiting.push_back(w.current->thread);
  Clock together;
  for (const int thread : waiting) {
    together.Join(w.clocks[thread / kWarp]);
    if (w.fibers[thread]->previous_ended) together.of[kPreviousKernel] = 1;
  }
  for (const int thread : waiting) {
    Clock& own = w.clocks[thread / kWarp];
    const uint32_t now = together.of[thread / kWarp] + 1;
    own = together;
    own.of[thread / kWarp] = now;
    if (thread % kWarp == 0) ++w.warps[thread / kWarp].epoch;
  }
  Wake(waiting);
}

void LoadBox(void* shared, const cuda::TensorMap& map, Coordinates at, uint64_t* address, int blocks) {
  Worker& w = *worker;
  const auto offset = static_cast<unsigned char*>(shared) - w.own_shared();
  if (offset % 1024 != 0) Complain(Fault::kMisaligned, HERE, "TMA load");
  const bool multicast = blocks > 1;
  if (multicast && blocks != static_cast<int>(w.blocks.size())) {
    return Complain(Fault::kOutOfBounds, HERE, "TMA load for " + std::to_string(blocks) + " blocks");
  }
  for (int i = 0; i < blocks; ++i) {
    const int rank = multicast ? i : w.current->rank;
    Barrier* const barrier = Find(address, rank, HERE);
    if (barrier == nullptr) return;
    unsigned char* const to = w.SharedOf(rank) + offset;
    BeginLoad(to, BoxBytes(map), rank, HERE);
    w.loads.push_back({map, at, to, barrier, w.PreviousEnded()});
  }
}

void CompleteLoad(size_t index) {
  const PendingLoad load = worker->loads[index];
  worker->loads.erase(worker->loads.begin() + static_cast<ptrdiff_t>(index));
  const int bytes = BoxBytes(load.map);
  worker->copy_previous_ended = &load.previous_ended;
  if (worker->InShared(load.shared, bytes)) {
    ForEachRow(load.map, load.at, [&](int row, int row_bytes, const unsigned char* from, int valid) {
      if (valid > 0) CheckAccess(from, valid, false, HERE);
      for (int byte = 0; byte < row_bytes; byte += 16) {
        unsigned char* const to = load.shared + cuda::SwizzledByte(row * row_bytes + byte, row_bytes);
        const int some = std::clamp(valid - byte, 0, 16);
        std::memcpy(to, from + byte, some);
        std::memset(to + some, 0, 16 - some);
      }
    });
    EndLoad(load.shared, bytes, *load.barrier);
  }
  worker->copy_previous_ended = nullptr;
  load.barrier->bytes -= bytes;
  load.barrier->loaded = load.barrier->phase + 1;
  EndPhaseIfComplete(*load.barrier);
}

void StoreBox(const cuda::TensorMap& map, Coordinates at, const void* shared) {
  const auto from = static_cast<const unsigned char*>(shared);
  const int bytes = BoxBytes(map);
  if ((from - worker->own_shared()) % 128 != 0) Complain(Fault::kMisaligned, HERE, "TMA store");
  CheckAsyncRead(from, bytes, true, HERE);
  if (!worker->InShared(from, bytes)) return;
  MarkStoring(from, bytes, 1);
  worker->current->stores.push_back({map, at, from, worker->PreviousEnded()});
}

void FenceProxy() { ++worker->current->proxy_fences; }

void WaitStores() {
  for (const PendingStore& store : worker->current->stores) {
    worker->copy_previous_ended = &store.previous_ended;
    ForEachRow(store.map, store.at, [&](int row, int row_bytes, const unsigned char* to, int valid) {
      if (valid > 0) CheckAccess(to, valid, true, HERE);
      for (int byte = 0; byte < valid; byte += 16) {
        std::memcpy(const_cast<unsigned char*>(to) + byte,
                    store.shared + cuda::SwizzledByte(row * row_bytes + byte, row_bytes),
                    std::min(16, valid - byte));
      }
    });
    MarkStoring(store.shared, BoxBytes(store.map), -1);
    worker->copy_previous_ended = nullptr;
  }
  worker->current->stores.clear();
}

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

void StoreMatrices(void* row, Words4 values, int count) {
  const auto bytes = static_cast<unsigned char*>(row);
  if (worker->lane() < 8 * count) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) Complain(Fault::kMisaligned, HERE, "stmatrix");
    CheckAccess(row, 16, true, HERE);
  }
  static thread_local unsigned char* rows[kMaxWarps][kWarp];
  const int warp = worker->current->thread / kWarp;
  rows[warp][worker->lane()] = bytes;
  Together(
      WarpOperation::kStoreMatrices, ~0u, [&](Warp& own, int lane) { own.out.words[lane] = values; },
      [&](Warp& own) {
        for (int lane = 0; lane < kWarp; ++lane) {
          for (int i = 0; i < count; ++i) {
            std::memcpy(rows[warp][8 * i + lane / 4] + lane % 4 * 4, &own.out.words[lane].word[i], 4);
          }
        }
      });
}

}  // namespace repvgg::emulator
