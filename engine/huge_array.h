#pragma once

#include <cstddef>
#include <utility>

namespace repvgg {

// Asks the system to back the whole 2 MB pages within a region not yet written to by huge pages, which it
// clears in a third of the time of 4 KB pages. It need not comply.
void PreferHugePages(void* data, size_t size);

// Zeroed memory, in 2 MB pages where available: weights and activations are read with long strides, and with
// 4 KB pages much time would go to TLB misses. Throws std::bad_alloc.
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
  size_t mapped_ = 0;  // Size of the mapping; 0 where the memory is from the heap.
};

// `size` elements, followed by zeros: kernels may read, but not write, a vector past the end.
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

}  // namespace repvgg
