// Large blocks of the CPU's memory, of whole huge pages that can be moved from one block to another without a copy.
#pragma once

#include <cstddef>

namespace cnnx {

inline constexpr size_t kPage = size_t{2} << 20;  // a huge page

/// A block of whole pages, aligned to one; null if there is no memory. It takes none before it is written to.
void* map_pages(size_t bytes) noexcept;
void unmap_pages(void* block, size_t bytes) noexcept;

/// Puts the memory of whole pages behind another block's, whose own is lost; theirs then reads as zeros and takes none.
/// Returns whether it could: if not, both blocks are as usable as before.
bool move_pages(void* from, void* to, size_t bytes) noexcept;
/// Whether this system can do that.
bool can_move_pages();

}  // namespace cnnx
