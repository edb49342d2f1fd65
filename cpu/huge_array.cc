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
  constexpr size_t kLine = 64;
  const size_t bytes = (size + kLine - 1) / kLine * kLine;
  data_ = std::aligned_alloc(size >= kHugePage ? kHugePage : kLine, bytes);
  if (data_ == nullptr) throw std::bad_alloc();
#ifdef __linux__
  // A wish: without it everything works, more slowly. What does not fill a page at the end would cost a whole
  // one.
  if (size >= kHugePage) madvise(data_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  std::memset(data_, 0, bytes);
}

HugeBytes::~HugeBytes() { std::free(data_); }

}  // namespace repvgg::cpu
