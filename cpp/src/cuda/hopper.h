// Products on Hopper's tensor cores (hopper_gemm.h), compiled for compute capability 9.0 alone: what wgmma's code is,
// no other GPU runs, later ones neither. no_hopper.cu stands in where the library is not built for 9.0.
#pragma once

#include <tuple>

#include "cuda/patch_runs.h"
#include "cuda/tensor_gemm.h"

namespace cnnx::cuda {

template <class LoaderA, class LoaderB, class Store>
using LaunchGemm = void (*)(GemmShape, int64_t items, const LoaderA&, const LoaderB&, const Store&);

/// The products of one precision with one tile, for each pair of operands that there is.
struct HopperGemms {
  int (*parts)(int64_t m, int64_t n, int64_t depth, int64_t items);
  std::tuple<LaunchGemm<PackedRows, PackedRows, MatrixStore<float>>,
             LaunchGemm<PackedRows, ChannelRuns, ImageStore<float>>,
             LaunchGemm<PixelRuns, PositionRuns, MatrixStore<float>>>
      launches;

  template <class LoaderA, class LoaderB, class Store>
  void launch(const GemmShape& shape, int64_t items, const LoaderA& a, const LoaderB& b, const Store& store) const {
    std::get<LaunchGemm<LoaderA, LoaderB, Store>>(launches)(shape, items, a, b, store);
  }
};

enum class HopperSize : unsigned char { k64x128, k128x128 };

/// Null in a library without code for 9.0.
const HopperGemms* hopper_gemms(Precision precision, HopperSize size);

}  // namespace cnnx::cuda
