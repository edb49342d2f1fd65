#pragma once

#include <cstddef>

namespace repvgg::cpu {

// Zeroed floats, in 2 MB pages where the system has them: weights and activations are read in long strides,
// and with 4 KB pages the processor spends much of its time looking up addresses. Throws std::bad_alloc.
class HugeArray {
 public:
  HugeArray() = default;
  explicit HugeArray(size_t size);
  ~HugeArray();
  HugeArray(HugeArray&& other) noexcept;
  HugeArray& operator=(HugeArray&& other) noexcept;

  float* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  float* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace repvgg::cpu
