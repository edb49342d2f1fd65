// Copies of boxes between global and shared memory.
#include <algorithm>
#include <cstring>
#include <string>

#include "test/emulator/async_operations.h"
#include "test/emulator/fiber.h"
#include "test/emulator/tensor_map_emulated.h"

namespace repvgg::emulator {
namespace {

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

}  // namespace

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
    Barrier* const barrier = FindBarrier(address, rank, HERE);
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
  CheckAsyncRead(from, bytes, HERE);
  if (!worker->InShared(from, bytes)) return;
  MarkStoring(from, bytes, 1);
  worker->current->stores.push_back({map, at, from, worker->PreviousEnded()});
}

void FenceProxy() {
  if (++worker->current->proxy_fences == 0) std::abort();  // More than a word's state can tell apart.
}

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

}  // namespace repvgg::emulator
