#include "cpu/huge_array.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace repvgg::cpu {

HugeArray::HugeArray(size_t size) : size_(size) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t page = size * sizeof(float) >= kHugePage ? kHugePage : 64;
  const size_t bytes = (size * sizeof(float) + page - 1) / page * page;
  data_ = static_cast<float*>(std::aligned_alloc(page, bytes));
  if (data_ == nullptr) throw std::bad_alloc();
#ifdef __linux__
  if (page == kHugePage)
    madvise(data_, bytes, MADV_HUGEPAGE);  // A wish: without it everything works, more slowly.
#endif
  std::memset(data_, 0, bytes);
}

HugeArray::~HugeArray() { std::free(data_); }

HugeArray::HugeArray(HugeArray&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HugeArray& HugeArray::operator=(HugeArray&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace repvgg::cpu
