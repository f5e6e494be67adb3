// Which instructions of tensor cores multiply on a device, and products by them.
//
// Hopper's (wgmma) are used on compute capability 9.0 where the library has code for it and the first use finds that
// they give what the others give: nothing was ever run on a GPU, and a layout that is wrong gives wrong numbers, not
// errors. CNNX_WGMMA=0 does without.
#pragma once

#include "cuda/hopper.h"
#include "cuda/tensor_gemm.h"

namespace cnnx::cuda {

/// Products by wgmma that fit these sizes; null where mma.sync multiplies on the calling thread's device.
const HopperGemms* wgmma_gemms(Precision precision, int64_t m, int64_t n, int64_t items);

/// In how many parts launch_tensor_gemm() should cut the sum over k.
template <Precision kPrecision>
int tensor_parts(int64_t m, int64_t n, int64_t depth, int64_t items) {
  if (const HopperGemms* hopper = wgmma_gemms(kPrecision, m, n, items)) return hopper->parts(m, n, depth, items);
  int parts = 1;
  with_tensor_tile<kPrecision>(m, n, items,
                               [&](auto tile) { parts = count_parts<decltype(tile)>(m, n, depth, items); });
  return parts;
}

template <Precision kPrecision, class LoaderA, class LoaderB, class Store>
void launch_tensor_gemm(const GemmShape& shape, int64_t items, const LoaderA& a, const LoaderB& b, const Store& store) {
  if (const HopperGemms* hopper = wgmma_gemms(kPrecision, shape.m, shape.n, items)) {
    return hopper->launch(shape, items, a, b, store);
  }
  with_tensor_tile<kPrecision>(shape.m, shape.n, items,
                               [&](auto tile) { launch_gemm<decltype(tile)>(shape, items, a, b, store); });
}

/// "wgmma", "mma.sync", or null of a device without tensor cores for these precisions.
const char* tensor_cores(int device);
/// Finds them out for the calling thread's device, for which a capture may not wait.
void prepare_tensor_cores();

}  // namespace cnnx::cuda
