// to(dtype), to(device), clone, copy_ and fill_.
#include "ops/cast.h"

#include <cmath>

#include "autograd.h"
#include "check.h"
#include "cuda/pinned.h"
#include "kernels.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

Tensor converted(const Tensor& x, DType dtype) {
  Tensor y = empty(x.shape(), {dtype, x.device()});
  kernels<CastKernels>(x.device()).convert(x.numel(), x.dtype(), x.raw_data(), dtype, y.raw_data());
  return y;
}

/// A write in place is refused where it would falsify a gradient.
void check_writable(const char* op, const Tensor& x) {
  check<std::runtime_error>(!is_grad_enabled() || !x.requires_grad(), op,
                            "a tensor that requires a gradient cannot be written in place. Do it under no_grad().");
}

}  // namespace

Tensor Tensor::clone() const {
  Tensor y = converted(*this, dtype());
  if (!grad_needed({this})) return y;
  return record("clone", y, {this}, [](const Tensor& gy) -> Gradients { return {gy}; });
}

Tensor Tensor::to(DType target) const {
  if (target == dtype()) return *this;
  Tensor y = converted(*this, target);
  if (!is_floating(target) || !grad_needed({this})) return y;
  return record("to", y, {this}, [from = dtype()](const Tensor& gy) -> Gradients { return {gy.to(from)}; });
}

Tensor Tensor::to(Device target, bool non_blocking) const {
  if (target == device()) return *this;
  if (target.is_meta()) return empty(shape(), {dtype(), target});
  check(!device().is_meta(), "to",
        "a tensor on \"meta\" has a shape but no values; got device \"{}\". In dry runs, such as those of "
        "cnnx.analysis, forward() cannot read values.",
        target);
  Tensor y = empty(shape(), {dtype(), target});
  const auto number = [](Device place) { return place.is_cuda() ? place.index : -1; };
  PinnedBlock* const pinned = non_blocking && target.is_cuda() ? find_pinned(raw_data()) : nullptr;
  if (pinned) {
    cuda_library().copy_async(target.index, CudaLane::kWork, y.raw_data(), raw_data(), impl_->storage->bytes());
    note_read(*pinned, target.index, CudaLane::kWork);
  } else {
    cuda_library().copy(y.raw_data(), number(target), raw_data(), number(device()), impl_->storage->bytes());
  }
  if (!grad_needed({this})) return y;
  return record("to", y, {this}, [from = device()](const Tensor& gy) -> Gradients { return {gy.to(from)}; });
}

Tensor& Tensor::copy_(const Tensor& source) {
  check_writable("copy_", *this);
  check(source.defined() && source.shape() == shape(), "copy_", "expected a source of shape {}; got {}.", shape(),
        source.defined() ? source.shape() : Shape());
  check<std::runtime_error>(!is_grad_enabled() || !source.requires_grad(), "copy_",
                            "writing in place is not recorded, so no gradient would reach the source. Copy "
                            "source.detach(), or do it under no_grad().");
  const bool crosses = source.device() != device() && (source.device().is_cuda() || device().is_cuda());
  const Tensor here = crosses ? source.detach().to(device()) : source;
  check_same_device("copy_", *this, here);
  if (raw_data() != here.raw_data()) {
    kernels<CastKernels>(device()).convert(numel(), here.dtype(), here.raw_data(), dtype(), raw_data());
    impl_->storage->bump_version();
  }
  return *this;
}

Tensor& Tensor::fill_(Scalar value) {
  check_writable("fill_", *this);
  check(dtype() != DType::kInt64 || value.is_integer() || std::abs(value.as<double>()) < 0x1p63, "fill_",
        "the value must fit int64; got {}.", value.as<double>());
  kernels<CastKernels>(device()).fill(numel(), dtype(), value, raw_data());
  impl_->storage->bump_version();
  return *this;
}

}  // namespace cnnx
