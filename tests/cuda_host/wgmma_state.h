// What the imitation of wgmma keeps of a block, between the kernel's calls (cuda/wgmma.h) and the runtime.
//
// Products read shared memory as late as they may: when their thread waits for them. They see what was written before
// its writer's fence (publish_writes), and no later write. Until all are waited for, the sums are NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cnnx/precision.h"

namespace cuda_host {

void begin_wgmma_block(unsigned threads);
/// Every product must have been waited for.
void end_wgmma_block();

/// The calling thread wrote 16 bytes; of no interest outside of dynamic shared memory.
void note_write(const void* shared);
void publish_writes();

/// Addresses in shared memory, as descriptors have them. Static memory comes first, so that dynamic memory begins on a
/// multiple of 16 bytes, but of no more.
uint32_t shared_address(const void* shared);

void order_sums();
/// sums (64 of them) += A B, later.
void start_product(cnnx::Precision precision, float* sums, uint64_t a, uint64_t b);
void commit_products();
/// Until as many of the thread's groups are left.
void wait_for_products(unsigned left);

}  // namespace cuda_host
