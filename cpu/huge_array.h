#pragma once

#include <cstddef>
#include <utility>

namespace repvgg::cpu {

// A wish that the system may not fulfil: 2 MB pages for what fills such pages of a part of memory that nobody
// has written to. It clears those in a third of the time of 4 KB pages.
void PreferHugePages(void* data, size_t size);

// Zeroed memory, in 2 MB pages where the system has them: weights and activations are read in long strides,
// and with 4 KB pages the processor spends much of its time looking up addresses. Throws std::bad_alloc.
class HugeBytes {
 public:
  HugeBytes() = default;
  explicit HugeBytes(size_t size);
  ~HugeBytes();
  HugeBytes(HugeBytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), mapped_(std::exchange(other.mapped_, 0)) {}
  HugeBytes& operator=(HugeBytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  size_t mapped_ = 0;  // Bytes that were mapped, which are zero without being cleared; 0 where there are few.
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
