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
  // Not aligned_alloc, which wants a multiple of the alignment.
  if (posix_memalign(&data_, size >= kHugePage ? kHugePage : kLine, size) != 0) throw std::bad_alloc();
#ifdef __linux__
  // A wish: without it everything works, more slowly. What does not fill a page at the end would cost a whole
  // one.
  if (size >= kHugePage) madvise(data_, size / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  std::memset(data_, 0, size);
}

HugeBytes::~HugeBytes() { std::free(data_); }

}  // namespace repvgg::cpu
