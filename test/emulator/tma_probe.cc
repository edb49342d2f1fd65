#include "test/emulator/tma_probe.h"

#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kThreads = 64;
constexpr int kLoadBytes = kTmaProbeRows * 128;
constexpr int kBarrierOffset = 2 * kLoadBytes;

struct Place {
  int channel, x, y, image, tap_x, tap_y, store_columns;
};

__global__ void TmaProbeKernel(const __grid_constant__ TensorMap in, const __grid_constant__ TensorMap out,
                               const Place place) {
  unsigned char* const loaded = SharedMemory();
  unsigned char* const stored = loaded + kLoadBytes;
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(loaded + kBarrierOffset);
  if (threadIdx.x == 0) MbarrierInit(barrier, 1), MbarrierInitFence();
  __syncthreads();
  if (threadIdx.x == 0) {
    MbarrierArriveExpect(barrier, kLoadBytes);
    TmaLoadPixels(loaded, in, place.channel, place.x, place.y, place.image, place.tap_x, place.tap_y,
                  barrier);
  }
  MbarrierWait(barrier, 0);
  const int row_bytes = place.store_columns * 2;
  for (int i = threadIdx.x; i < kTmaProbeRows * row_bytes / 16; i += kThreads) {
    const int row = i / (row_bytes / 16), byte = i % (row_bytes / 16) * 16;
    *reinterpret_cast<uint4*>(stored + SwizzledByte(row * row_bytes + byte, row_bytes)) =
        *reinterpret_cast<const uint4*>(loaded + SwizzledByte(row * 128 + byte, 128));
  }
  FenceForTma();
  __syncthreads();
  if (threadIdx.x == 0) {
    TmaStore(out, 0, 0, 0, 0, stored);
    TmaStoreCommit();
    TmaStoreWait();
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
  const int line = probe.first_window / out_width;
  const Place place = {probe.first_channel,
                       probe.first_window % out_width * probe.stride - 1,
                       line % out_height * probe.stride - 1,
                       line / out_height,
                       probe.tap % 3,
                       probe.tap / 3,
                       probe.store_columns};
  const PixelArray pixels = {in + probe.group * probe.group_channels,
                             probe.batch,
                             probe.height,
                             probe.width,
                             probe.group_channels,
                             probe.pixel_elements,
                             probe.stride,
                             kTmaProbeRows};
  const uint64_t columns = probe.store_columns, row = 2 * columns;
  const TiledArray stored = {out,
                             {columns, kTmaProbeRows, 1, 1},
                             {row, row * kTmaProbeRows, row * kTmaProbeRows},
                             {static_cast<uint32_t>(columns), kTmaProbeRows, 1, 1}};
  TensorMap load, store;
  if (const auto error = EncodePixels(pixels, Precision::kFp16, &load); error != cudaSuccess) return error;
  if (const auto error = EncodeTiled(stored, Precision::kFp16, &store); error != cudaSuccess) return error;
  return Launch(TmaProbeKernel, dim3(1), dim3(kThreads), kBarrierOffset + 8, cudaStream_t{}, load, store,
                place);
}

std::string CheckTmaProbe(const TmaProbe& probe, const std::vector<uint16_t>& out) {
  for (int i = 0; i < kTmaProbeRows * probe.store_columns; ++i) {
    const int row = i / probe.store_columns, column = i % probe.store_columns;
    const int expected = Expected(probe, row, column);
    if (out[i] == expected) continue;
    return "tap " + std::to_string(probe.tap) + " of window " + std::to_string(probe.first_window + row) +
           ", stride " + std::to_string(probe.stride) + ", " + std::to_string(probe.width) + " x " +
           std::to_string(probe.height) + " pixels, stored " + std::to_string(probe.store_columns) +
           " wide: got " + Name(probe, out[i]) + " instead of " + Name(probe, expected);
  }
  return "";
}

}  // namespace repvgg::emulator
