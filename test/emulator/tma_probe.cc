#include "test/emulator/tma_probe.h"

#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kThreads = 64;
constexpr int kStoredRows = 64;  // By one store.

// Where a block's part of the box begins.
struct Start {
  int x, y, image;
};
struct Place {
  Start starts[2];
  int channel, tap_x, tap_y, rows, row_bytes;  // Of the stored rows.
};

template <int kBlocks>
__global__ void TmaProbeKernel(const __grid_constant__ TensorMap in, const __grid_constant__ TensorMap out,
                               const Place place) {
  unsigned char* const loaded = SharedMemory();
  unsigned char* const stored = loaded + place.rows * 128;
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(stored + place.rows * 128);
  const int rank = kBlocks == 1 ? 0 : ClusterRank();
  if (threadIdx.x == 0) MbarrierInit(barrier, 1), MbarrierInitFence();
  __syncthreads();
  if constexpr (kBlocks > 1) ClusterSetupBarrier();
  if (threadIdx.x == 0) {
    const Start start = place.starts[rank];
    MbarrierArriveExpect(barrier, place.rows * 128);
    TmaLoadPixels<kBlocks>(loaded + rank * place.rows / kBlocks * 128, in, place.channel, start.x, start.y,
                           start.image, place.tap_x, place.tap_y, barrier);
  }
  MbarrierWait(barrier, 0);
  const int chunks = place.row_bytes / 16;
  for (int i = threadIdx.x; i < place.rows * chunks; i += kThreads) {
    const int row = i / chunks, byte = i % chunks * 16;
    *reinterpret_cast<uint4*>(stored + SwizzledByte(row * place.row_bytes + byte, place.row_bytes)) =
        *reinterpret_cast<const uint4*>(loaded + SwizzledByte(row * 128 + byte, 128));
  }
  FenceForTma();
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int row = 0; row < place.rows; row += kStoredRows) {
      TmaStore(out, 0, rank * place.rows + row, 0, 0, stored + row * place.row_bytes);
    }
    TmaStoreCommit();
    TmaStoreWait();
  }
  if constexpr (kBlocks > 1) {
    __syncwarp();
    ClusterBarrier();  // No block may exit while the other one still loads for it.
  }
}

int Down(int size, int stride) { return (size + stride - 1) / stride; }

// The number of the value that belongs there; 0 for the padding.
int Expected(const TmaProbe& probe, int row, int column) {
  const int out_width = Down(probe.width, probe.stride), out_height = Down(probe.height, probe.stride);
  const int window = probe.first_window + row, channel = probe.first_channel + column;
  const int x = window % out_width * probe.stride + probe.tap % 3 - 1;
  const int y = window / out_width % out_height * probe.stride + probe.tap / 3 - 1;
  const int image = window / out_width / out_height;
  if (x < 0 || x >= probe.width || y < 0 || y >= probe.height || image >= probe.batch) return 0;
  if (channel >= probe.group_channels) return 0;
  const int pixel = (image * probe.height + y) * probe.width + x;
  return pixel * probe.pixel_elements + probe.group * probe.group_channels + channel + 1;
}

std::string Name(const TmaProbe& probe, int value) {
  if (value == 0) return "a zero";
  const int pixel = (value - 1) / probe.pixel_elements;
  return "channel " + std::to_string((value - 1) % probe.pixel_elements) + " of pixel (" +
         std::to_string(pixel % probe.width) + ", " + std::to_string(pixel / probe.width % probe.height) +
         ") of image " + std::to_string(pixel / probe.width / probe.height);
}

}  // namespace

std::vector<TmaProbe> TmaProbes() {
  std::vector<TmaProbe> probes;
  for (int tap = 0; tap < 9; ++tap) {
    const int columns = 8 << tap % 4;
    // Whole images from their beginning; from the midst of a line to beyond the last image; groups whose
    // channels end within the box; stride 2 over even and odd sizes; wholly beyond the last image.
    probes.push_back({2, 7, 9, 64, 64, 0, 1, 0, tap, 0, columns});
    probes.push_back({2, 7, 9, 72, 72, 0, 1, 75, tap, 64, columns});
    probes.push_back({3, 5, 4, 160, 40, 3, 1, 11, tap, 0, columns});
    probes.push_back({2, 14, 14, 64, 64, 0, 2, 40, tap, 0, columns});
    probes.push_back({3, 9, 7, 96, 48, 1, 2, 3, tap, 0, columns});
    probes.push_back({2, 7, 9, 64, 64, 0, 1, 146, tap, 0, columns});
    // As the kernels' largest boxes: across images, and to beyond the last. Then as bytes, of which a group
    // has fewer than the box; and half of it by each block of a cluster.
    probes.push_back({9, 7, 7, 64, 64, 0, 1, 200, tap, 0, columns, 256});
    probes.push_back({3, 14, 14, 80, 80, 0, 2, 5, tap, 0, columns, 128});
    probes.push_back({3, 5, 4, 96, 48, 1, 1, 11, tap, 0, columns, 64, true});
    probes.push_back({3, 9, 7, 96, 48, 1, 2, 3, tap, 0, columns, 64, true});
    probes.push_back({6, 7, 7, 64, 64, 0, 1, 40, tap, 0, columns, 256, false, 2});
    probes.push_back({3, 9, 7, 96, 48, 1, 2, 3, tap, 0, columns, 128, true, 2});
  }
  return probes;
}

std::vector<uint16_t> TmaProbeMap(const TmaProbe& probe) {
  std::vector<uint16_t> map(static_cast<size_t>(probe.batch) * probe.height * probe.width *
                            probe.pixel_elements);
  for (size_t i = 0; i < map.size(); ++i) map[i] = static_cast<uint16_t>(i + 1);
  return map;
}

cudaError_t LaunchTmaProbe(const TmaProbe& probe, const uint16_t* in, uint16_t* out) {
  const int out_width = Down(probe.width, probe.stride), out_height = Down(probe.height, probe.stride);
  const int own = probe.rows / probe.blocks;  // Windows that a block loads.
  const auto start = [&](int window) {
    const int line = window / out_width;
    return Start{window % out_width * probe.stride - 1, line % out_height * probe.stride - 1,
                 line / out_height};
  };
  const int elements = probe.bytes ? 2 : 1;  // Of one value.
  const Precision precision = probe.bytes ? Precision::kFp8 : Precision::kFp16;
  const Place place = {{start(probe.first_window), start(probe.first_window + own)},
                       probe.first_channel * elements,
                       probe.tap % 3,
                       probe.tap / 3,
                       probe.rows,
                       probe.store_columns * 2};
  const PixelArray pixels = {in + probe.group * probe.group_channels,
                             probe.batch,
                             probe.height,
                             probe.width,
                             probe.group_channels * elements,
                             probe.pixel_elements * elements,
                             probe.stride,
                             own};
  const uint64_t columns = probe.store_columns, row = 2 * columns, rows = probe.rows * probe.blocks;
  const TiledArray stored = {out,
                             {columns * elements, rows, 1, 1},
                             {row, row * rows, row * rows},
                             {static_cast<uint32_t>(columns * elements), kStoredRows, 1, 1}};
  TensorMap load, store;
  if (const auto error = EncodePixels(pixels, precision, &load); error != cudaSuccess) return error;
  if (const auto error = EncodeTiled(stored, precision, &store); error != cudaSuccess) return error;
  return LaunchAs(false, probe.blocks, probe.blocks == 1 ? TmaProbeKernel<1> : TmaProbeKernel<2>,
                  dim3(probe.blocks), dim3(kThreads), size_t{256} * probe.rows + 8, cudaStream_t{}, load,
                  store, place);
}

std::string CheckTmaProbe(const TmaProbe& probe, const std::vector<uint16_t>& out) {
  for (int i = 0; i < probe.Values(); ++i) {
    const int row = i / probe.store_columns % probe.rows, column = i % probe.store_columns;
    const int expected = Expected(probe, row, column);
    if (out[i] == expected) continue;
    return "tap " + std::to_string(probe.tap) + " of window " + std::to_string(probe.first_window + row) +
           ", stride " + std::to_string(probe.stride) + ", " + std::to_string(probe.width) + " x " +
           std::to_string(probe.height) + " pixels, a box of " + std::to_string(probe.rows) + " windows" +
           (probe.bytes ? " of bytes" : "") +
           (probe.blocks > 1 ? ", halves loaded by two blocks for both" : "") + ", stored " +
           std::to_string(probe.store_columns) + " wide: got " + Name(probe, out[i]) + " instead of " +
           Name(probe, expected);
  }
  return "";
}

}  // namespace repvgg::emulator
