// Code with several implementations, one of which is chosen for the processor at run time: all must give the
// same result. Prints what does not.
#include <cstdio>
#include <random>
#include <vector>

#include "engine/crc32.h"
#include "engine/resample.h"

namespace {

using namespace repvgg;

std::mt19937 generator(1);

int Integer(int least, int most) { return std::uniform_int_distribution(least, most)(generator); }

// Extremes are as likely as all other values: their sums overflow first.
std::vector<uint8_t> RandomBytes(size_t count) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) {
    const int kind = Integer(0, 3);
    byte = static_cast<uint8_t>(kind == 0 ? 0 : kind == 1 ? 255 : Integer(0, 255));
  }
  return bytes;
}

void CompareResampling() {
  for (int i = 0; i < 1000; ++i) {
    const int most = i % 2 == 0 ? 12 : 150;
    const int width = Integer(1, most);
    const int height = i % 10 == 0 ? width * 100 + Integer(1, 40) : Integer(1, most);  // Some very tall.
    const Geometry geometry = {i % 8 == 0 ? 0 : Integer(1, 70), Integer(1, 70),
                               i % 3 == 0 ? Interpolation::kBicubic : Interpolation::kBilinear};
    const std::vector<uint8_t> pixels = RandomBytes(size_t{3} * width * height);
    const auto crop = [&](ResampleKernels kernels) {
      std::vector<uint8_t> out(size_t{3} * geometry.crop * geometry.crop);
      ResizeCrop(pixels.data(), width, height, geometry, out.data(), kernels);
      return out;
    };
    if (crop(ResampleKernels::kFastest) != crop(ResampleKernels::kPortable)) {
      std::printf("resampling differs: %d x %d to %d, crop %d\n", width, height, geometry.resize,
                  geometry.crop);
    }
  }
}

void CompareCrc32() {
  const std::vector<uint8_t> bytes = RandomBytes(3000);
  for (size_t count = 0; count < bytes.size(); ++count) {
    const uint32_t before = generator();
    const uint8_t* const end = bytes.data() + bytes.size();
    for (const int bits : {128, 512}) {
      if (bits > CarrylessBits()) continue;
      if (Crc32(before, end - count, count, bits) != Crc32(before, end - count, count, 0)) {
        std::printf("the checksums of %zu bytes differ with %d bits\n", count, bits);
      }
    }
  }
}

}  // namespace

int main() {
  CompareResampling();
  CompareCrc32();
}
