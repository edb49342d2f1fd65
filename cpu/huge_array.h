#pragma once

#include <cstddef>
#include <utility>

namespace repvgg::cpu {

// Zeroed memory, in 2 MB pages where the system has them: weights and activations are read in long strides,
// and with 4 KB pages the processor spends much of its time looking up addresses. Throws std::bad_alloc.
class HugeBytes {
 public:
  HugeBytes() = default;
  explicit HugeBytes(size_t size);
  ~HugeBytes();
  HugeBytes(HugeBytes&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  HugeBytes& operator=(HugeBytes&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

// `size` numbers of type T, and some zeros behind them: kernels may read, not write, a vector past the end.
template <class T>
class HugeArray {
 public:
  HugeArray() = default;
  explicit HugeArray(size_t size) : bytes_(size * sizeof(T) + kSlack), size_(size) {}

  T* data() const { return static_cast<T*>(bytes_.data()); }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kSlack = 256;
  HugeBytes bytes_;
  size_t size_ = 0;
};

}  // namespace repvgg::cpu
