#include "cpu/huge_array.h"

#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace repvgg::cpu {

HugeBytes::HugeBytes(size_t size) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t page = size >= kHugePage ? kHugePage : 64;
  const size_t bytes = (size + page - 1) / page * page;
  data_ = std::aligned_alloc(page, bytes);
  if (data_ == nullptr) throw std::bad_alloc();
#ifdef __linux__
  if (page == kHugePage)
    madvise(data_, bytes, MADV_HUGEPAGE);  // A wish: without it everything works, more slowly.
#endif
  std::memset(data_, 0, bytes);
}

HugeBytes::~HugeBytes() { std::free(data_); }

}  // namespace repvgg::cpu
