// One box by TMA's im2col mode and back by a store of each width: what direct_sm90a asks of TMA, alone, with
// values that say which pixel and channel they are. The same kernel runs in the emulator and on a GPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/tensor_map.h"

namespace repvgg::emulator {

// A map of [batch][height][width][pixel_elements] values: the value of element i is i + 1. Windows are those
// of a 3x3 convolution with padding 1.
struct TmaProbe {
  int batch, height, width, pixel_elements;
  int group_channels, group;  // Channels of one group, and which.
  int stride;
  int first_window, tap, first_channel;  // The channel is one of the group.
  int store_columns;                     // 8, 16, 32 or 64.
  int rows = 64;                         // Windows of the box.
  bool bytes = false;                    // Each value as two channels of one byte, as fp8's are.
  int blocks = 1;                        // 2: a cluster, of which each block loads half of the box for both.

  int Values() const { return blocks * rows * store_columns; }
};

std::vector<TmaProbe> TmaProbes();
std::vector<uint16_t> TmaProbeMap(const TmaProbe& probe);

// `in` is TmaProbeMap on the device; out[blocks][rows][store_columns] is written.
cudaError_t LaunchTmaProbe(const TmaProbe& probe, const uint16_t* in, uint16_t* out);

// What is wrong with `out`, or nothing.
std::string CheckTmaProbe(const TmaProbe& probe, const std::vector<uint16_t>& out);

}  // namespace repvgg::emulator
