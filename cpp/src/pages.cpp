// Large blocks of memory on Linux, where mremap() moves pages and madvise() asks for huge ones: they take fewer
// entries of the processor's page cache, and 512 times fewer page faults. Elsewhere blocks come from operator new.
#include "pages.h"

#include <cstdint>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace cnnx {

#if defined(__linux__)

namespace {

#if !defined(MREMAP_DONTUNMAP)  // of Linux 5.7; C libraries before glibc 2.32 lack its name
constexpr int MREMAP_DONTUNMAP = 4;
#endif

void* map(void* at, size_t bytes, int flags) noexcept {
  void* const block = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return block == MAP_FAILED ? nullptr : block;
}

}  // namespace

void* map_pages(size_t bytes) noexcept {
  auto* const start = static_cast<char*>(map(nullptr, bytes + kPage, 0));
  if (!start) return nullptr;
  const size_t before = (kPage - reinterpret_cast<uintptr_t>(start) % kPage) % kPage;
  if (before > 0) munmap(start, before);
  munmap(start + before + bytes, kPage - before);
  madvise(start + before, bytes, MADV_HUGEPAGE);  // where it fails, the pages are small ones
  return start + before;
}

void unmap_pages(void* block, size_t bytes) noexcept { munmap(block, bytes); }

bool move_pages(void* from, void* to, size_t bytes) noexcept {
  if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to) return true;
  map(to, bytes, MAP_FIXED);  // mremap() may have taken the range away before it failed
  return false;
}

bool can_move_pages() {
  static const bool can = [] {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    auto* const pages = static_cast<char*>(map(nullptr, 2 * page, 0));
    if (!pages) return false;
    pages[0] = 1;
    const bool moved = move_pages(pages, pages + page, page) && pages[0] == 0 && pages[page] == 1;
    munmap(pages, 2 * page);
    return moved;
  }();
  return can;
}

#else

void* map_pages(size_t bytes) noexcept { return ::operator new(bytes, std::align_val_t{kPage}, std::nothrow); }
void unmap_pages(void* block, size_t) noexcept { ::operator delete(block, std::align_val_t{kPage}); }
bool move_pages(void*, void*, size_t) noexcept { return false; }
bool can_move_pages() { return false; }

#endif

}  // namespace cnnx
