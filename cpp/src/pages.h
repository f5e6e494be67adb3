// Large blocks of the CPU's memory, of whole huge pages that can be moved from one block to another without a copy.
#pragma once

#include <cstddef>

namespace cnnx {

inline constexpr size_t kPage = size_t{2} << 20;  // a huge page

/// Whether this system can do what follows: Linux from 5.7 on.
bool can_move_pages();

/// A block of whole pages, aligned to one; null if there is no memory. It takes none before it is written to.
void* map_pages(size_t bytes) noexcept;
void unmap_pages(void* block, size_t bytes) noexcept;

/// Puts the memory of one page behind another, whose own is lost; the first then reads as zeros and takes none. If it
/// returns false, there may be nothing behind `to` any more, or soon somebody else's memory: it must not be touched.
bool move_page(void* from, void* to) noexcept;

}  // namespace cnnx
