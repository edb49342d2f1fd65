#include "engine/huge_array.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace repvgg {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

#ifdef __linux__
size_t BytesToHugePage(const void* data) {
  return (kHugePage - reinterpret_cast<uintptr_t>(data) % kHugePage) % kHugePage;
}

// Zeroed memory aligned to a huge page; null on failure.
void* Map(size_t size) {
  const size_t more = size + kHugePage;
  void* const mapped = mmap(nullptr, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const bytes = static_cast<char*>(mapped);
  const size_t before = BytesToHugePage(mapped);
  if (before > 0) munmap(bytes, before);
  munmap(bytes + before + size, kHugePage - before);
  return bytes + before;
}
#endif

}  // namespace

void PreferHugePages(void* data, size_t size) {
#ifdef __linux__
  const size_t before = BytesToHugePage(data);
  // Whole huge pages only: a partial one at the end would cost the memory of a whole one.
  if (size < before + kHugePage) return;
  madvise(static_cast<char*>(data) + before, (size - before) / kHugePage * kHugePage, MADV_HUGEPAGE);
#else
  static_cast<void>(data);
  static_cast<void>(size);
#endif
}

HugeBytes::HugeBytes(size_t size) {
#ifdef __linux__
  if (size >= kHugePage) {
    constexpr size_t kPage = 64 << 10;  // The largest base page of any common system.
    mapped_ = (size + kPage - 1) / kPage * kPage;
    data_ = Map(mapped_);
    if (data_ == nullptr) throw std::bad_alloc();
    PreferHugePages(data_, mapped_);
    return;
  }
#endif
  constexpr size_t kLine = 64;
  // Not aligned_alloc, which requires the size to be a multiple of the alignment.
  if (posix_memalign(&data_, size >= kHugePage ? kHugePage : kLine, size) != 0) throw std::bad_alloc();
  std::memset(data_, 0, size);
}

HugeBytes::~HugeBytes() {
#ifdef __linux__
  if (mapped_ > 0) {
    munmap(data_, mapped_);
    return;
  }
#endif
  std::free(data_);
}

}  // namespace repvgg
