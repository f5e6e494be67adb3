// Hopper's kernels. Nothing else may be compiled here: a kernel of the same name in another source has code for other
// GPUs, and one name has one kernel.
#include "cuda/hopper.h"

#include "cuda/hopper_gemm.h"
#include "cuda/precision.h"

namespace cnnx::cuda {
namespace {

template <class Tile, class LoaderA, class LoaderB, class Store>
constexpr LaunchGemm<LoaderA, LoaderB, Store> kLaunch = launch_gemm<Tile, LoaderA, LoaderB, Store>;

template <class Tile>
constexpr HopperGemms kGemms{count_parts<Tile>,
                             {kLaunch<Tile, PackedRows, PackedRows, MatrixStore<float>>,
                              kLaunch<Tile, PackedRows, ChannelRuns, ImageStore<float>>,
                              kLaunch<Tile, PixelRuns, PositionRuns, MatrixStore<float>>}};

}  // namespace

const HopperGemms* hopper_gemms(Precision precision, HopperSize size) {
  return with_reduced_precision(precision, [&](auto constant) {
    constexpr Precision kPrecision = decltype(constant)::value;
    return size == HopperSize::k128x128 ? &kGemms<HopperTile<kPrecision, 2>> : &kGemms<HopperTile<kPrecision, 1>>;
  });
}

}  // namespace cnnx::cuda
