#pragma once

#include <array>

namespace repvgg::cpu {

// What the first layer reads for each of the 256 levels of each channel, and in the border of the map.
template <class T>
struct InputValues {
  std::array<std::array<T, 256>, 3> of_level;
  std::array<T, 3> border;
};

}  // namespace repvgg::cpu
