// Large blocks of memory on Linux, where mremap() moves pages and madvise() asks for huge ones: they take fewer
// entries of the processor's page cache, and 512 times fewer page faults.
#include "pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace cnnx {

#if defined(__linux__)

namespace {

#if !defined(MREMAP_DONTUNMAP)  // C libraries before glibc 2.32 lack the name
constexpr int MREMAP_DONTUNMAP = 4;
#endif

void* map(size_t bytes) noexcept {
  void* const block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return block == MAP_FAILED ? nullptr : block;
}

bool move(void* from, void* to, size_t bytes) noexcept {
  return mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to;
}

}  // namespace

bool can_move_pages() {
  static const bool can = [] {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    auto* const pages = static_cast<char*>(map(2 * page));
    if (!pages) return false;
    pages[0] = 1;
    const bool moved = move(pages, pages + page, page) && pages[0] == 0 && pages[page] == 1;
    munmap(pages, moved ? 2 * page : page);
    return moved;
  }();
  return can;
}

void* map_pages(size_t bytes) noexcept {
  auto* const start = static_cast<char*>(map(bytes + kPage));
  if (!start) return nullptr;
  const size_t before = (kPage - reinterpret_cast<uintptr_t>(start) % kPage) % kPage;
  if (before > 0) munmap(start, before);
  munmap(start + before + bytes, kPage - before);
  madvise(start + before, bytes, MADV_HUGEPAGE);  // where it fails, the pages are small ones
  return start + before;
}

void unmap_pages(void* block, size_t bytes) noexcept {
  if (bytes > 0) munmap(block, bytes);
}

/// Of a range that was put together from several, Linux before 6.17 moves only what came in one piece.
bool move_page(void* from, void* to) noexcept { return move(from, to, kPage); }

#else

bool can_move_pages() { return false; }
void* map_pages(size_t) noexcept { return nullptr; }
void unmap_pages(void*, size_t) noexcept {}
bool move_page(void*, void*) noexcept { return false; }

#endif

}  // namespace cnnx
