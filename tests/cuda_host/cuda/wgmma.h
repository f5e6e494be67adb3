// Stands in for cpp/src/cuda/wgmma.h on the host: the same functions, with the state that wgmma.cpp keeps.
#pragma once

#include "cuda/mma.h"
#include "wgmma_state.h"

namespace cnnx::cuda {

inline constexpr int kProductColumns = 128;
using ProductSums = float[kProductColumns / 8][4];

inline uint32_t* dynamic_shared() { return reinterpret_cast<uint32_t*>(cuda_host::dynamic_shared().memory); }
inline uint32_t shared_address(const void* shared) { return cuda_host::shared_address(shared); }

inline void publish_writes() { cuda_host::publish_writes(); }
inline void order_sums(ProductSums&) { cuda_host::order_sums(); }
template <Precision kPrecision>
void multiply_async(ProductSums& sums, uint64_t a, uint64_t b) {
  cuda_host::start_product(kPrecision, &sums[0][0], a, b);
}
inline void commit_products() { cuda_host::commit_products(); }
template <int kLeft>
void wait_for_products() {
  cuda_host::wait_for_products(kLeft);
}
inline void finish_products(ProductSums&) { cuda_host::wait_for_products(0); }

}  // namespace cnnx::cuda
