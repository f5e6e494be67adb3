// upsample, and reflection padding: the recorded call that both share.
#include "ops/resample.h"

#include <cmath>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/reflect.h"
#include "parallel.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

/// One axis of a resampling in double, independent of the tensor's dtype; empty weights stand for no blending.
struct AxisMap {
  int64_t input = 0;
  std::vector<int64_t> first;
  std::vector<double> weight;
};

/// An AxisMap with its transpose, for kernels.
template <class T>
class AxisTable {
 public:
  explicit AxisTable(const AxisMap& map)
      : map_(map), weight_(map.weight.begin(), map.weight.end()), offsets_(static_cast<size_t>(map.input) + 1) {
    each_share([&](int64_t input, int64_t, T) { ++offsets_[static_cast<size_t>(input) + 1]; });
    for (size_t i = 1; i < offsets_.size(); ++i) offsets_[i] += offsets_[i - 1];
    outputs_.resize(static_cast<size_t>(offsets_.back()));
    share_.resize(outputs_.size());
    std::vector<int64_t> next(offsets_.begin(), offsets_.end() - 1);
    each_share([&](int64_t input, int64_t output, T share) {
      const auto at = static_cast<size_t>(next[static_cast<size_t>(input)]++);
      outputs_[at] = output;
      share_[at] = share;
    });
  }

  ResampleAxis<T> view() const {
    return {map_.input,        static_cast<int64_t>(map_.first.size()),
            map_.first.data(), weight_.empty() ? nullptr : weight_.data(),
            offsets_.data(),   outputs_.data(),
            share_.data()};
  }

 private:
  template <class F>
  void each_share(F fn) const {
    for (size_t o = 0; o < map_.first.size(); ++o) {
      const auto output = static_cast<int64_t>(o);
      const T weight = weight_.empty() ? T(0) : weight_[o];
      fn(map_.first[o], output, T(1) - weight);
      if (weight != T(0)) fn(std::min(map_.first[o] + 1, map_.input - 1), output, weight);
    }
  }

  const AxisMap& map_;
  std::vector<T> weight_;
  std::vector<int64_t> offsets_, outputs_;
  std::vector<T> share_;
};

/// Calls fn(geometry, kernels, workspace).
template <class T, class F>
void with_kernels(int64_t planes, const AxisMap& h, const AxisMap& w, Device device, F&& fn) {
  const AxisTable<T> rows(h), columns(w);
  const ResampleGeometry<T> g{planes, rows.view(), columns.view(), region_threads()};
  const auto& k = kernels<ResampleKernels<T>>(device);
  const Workspace workspace(static_cast<size_t>(k.workspace_bytes(g)), device);
  fn(g, k, workspace.data());
}

/// Resamples the last two axes of x, seen as (planes, h, w), and records it.
Tensor resample(const char* op, const Tensor& x, int64_t planes, AxisMap h, AxisMap w, const Shape& shape) {
  if (is_16_bit(x)) {
    return in_float32(x.dtype(), [&](const Tensor& wide) { return resample(op, wide, planes, h, w, shape); }, x);
  }
  Tensor y = empty_like(x, shape);
  if (y.numel() > 0) {
    dispatch_floating(x.dtype(), [&](auto t) {
      using T = decltype(t);
      with_kernels<T>(planes, h, w, x.device(), [&](const auto& g, const auto& k, void* workspace) {
        k.forward(g, x.data<T>(), y.data<T>(), workspace);
      });
    });
  }
  if (!grad_needed({&x})) return y;
  return record(op, y, {&x}, [=, h = std::move(h), w = std::move(w), from = x.shape()](const Tensor& gy) -> Gradients {
    Tensor gx = empty_like(gy, from);
    if (gx.numel() == 0) return {gx};
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      with_kernels<T>(planes, h, w, gy.device(), [&](const auto& g, const auto& k, void* workspace) {
        k.backward(g, gy.data<T>(), gx.data<T>(), workspace);
      });
    });
    return {gx};
  });
}

// ---- Upsampling, with torch's rules for where an output position lies in the input

/// The input position that output 0 of `output` stands for moves by this much a step. A factor that was given counts as
/// it is, even where the size that it gives was rounded down.
double step(int64_t input, int64_t output, std::optional<double> factor) {
  return factor ? 1 / *factor : static_cast<double>(input) / static_cast<double>(output);
}

AxisMap nearest_axis(int64_t input, int64_t output, std::optional<double> factor) {
  AxisMap map{input, std::vector<int64_t>(static_cast<size_t>(output)), {}};
  const auto scale = static_cast<float>(step(input, output, factor));  // in float, as torch: rounding decides
  for (int64_t o = 0; o < output; ++o) {
    const int64_t at = output == input       ? o
                       : output == 2 * input ? o / 2
                                             : static_cast<int64_t>(std::floor(static_cast<float>(o) * scale));
    map.first[static_cast<size_t>(o)] = std::min(at, input - 1);
  }
  return map;
}

AxisMap linear_axis(int64_t input, int64_t output, std::optional<double> factor, bool align_corners) {
  AxisMap map{input, std::vector<int64_t>(static_cast<size_t>(output)),
              std::vector<double>(static_cast<size_t>(output))};
  const double aligned = output > 1 ? static_cast<double>(input - 1) / static_cast<double>(output - 1) : 0;
  const double scale = step(input, output, factor);
  for (int64_t o = 0; o < output; ++o) {
    const auto position = static_cast<double>(o);
    double at = align_corners ? aligned * position : std::max(0.0, scale * (position + 0.5) - 0.5);
    if (output == input) at = position;
    const auto first = std::min(static_cast<int64_t>(at), input - 1);
    map.first[static_cast<size_t>(o)] = first;
    map.weight[static_cast<size_t>(o)] = std::clamp(at - static_cast<double>(first), 0.0, 1.0);
  }
  return map;
}

int64_t scaled(const char* op, int64_t input, double factor) {
  check(std::isfinite(factor) && factor > 0, op, "scale_factor must be positive and finite; got {}.", factor);
  const double output = std::floor(static_cast<double>(input) * factor);
  check(output >= 1 && output < 0x1p31, op, "the output's sides must lie in [1, 2^31); got {} * {} = {}.", input,
        factor, output);
  return static_cast<int64_t>(output);
}

}  // namespace

Tensor upsample(const Tensor& x, const UpsampleOptions& options) {
  constexpr const char* kOp = "upsample";
  check_floating(kOp, x);
  check(x.rank() == 4, kOp, "expected images of shape (N, C, H, W); got shape {}.", x.shape());
  check(x.size(2) > 0 && x.size(3) > 0, kOp, "expected images with pixels; got shape {}.", x.shape());
  check(options.size.has_value() != options.scale_factor.has_value(), kOp,
        "expected either size or scale_factor; got {}.", options.size ? "both" : "neither");
  const bool bilinear = options.mode == "bilinear";
  check(bilinear || options.mode == "nearest", kOp, "mode must be \"nearest\" or \"bilinear\"; got \"{}\".",
        options.mode);
  check(bilinear || !options.align_corners, kOp, "align_corners needs mode=\"bilinear\".");
  std::optional<double> factor_h, factor_w;
  Pair size;
  if (options.size) {
    size = *options.size;
    check(size.h >= 1 && size.w >= 1 && std::max(size.h, size.w) < (int64_t{1} << 31), kOp,
          "the output's sides must lie in [1, 2^31); got size {}.", size);
  } else {
    factor_h = options.scale_factor->h;
    factor_w = options.scale_factor->w;
    size = {scaled(kOp, x.size(2), *factor_h), scaled(kOp, x.size(3), *factor_w)};
  }
  const Shape shape{x.size(0), x.size(1), size.h, size.w};
  check_numel(kOp, shape);
  const auto axis = [&](int64_t input, int64_t output, std::optional<double> factor) {
    return bilinear ? linear_axis(input, output, factor, options.align_corners) : nearest_axis(input, output, factor);
  };
  return resample(kOp, x, x.size(0) * x.size(1), axis(x.size(2), size.h, factor_h), axis(x.size(3), size.w, factor_w),
                  shape);
}

Tensor reflect(const char* op, const Tensor& x, std::span<const int64_t> padding, const Shape& shape) {
  const auto axis = [&](int64_t input, size_t at) {
    const int64_t before = padding.size() > at ? padding[at] : 0, after = padding.size() > at ? padding[at + 1] : 0;
    check(std::max(before, after) < std::max<int64_t>(1, input), op,
          "reflected borders must be smaller than the axis, {}; got {} and {}.", input, before, after);
    AxisMap map{input, {}, {}};
    for (int64_t o = -before; o < input + after; ++o) {
      map.first.push_back(o < 0 ? -o : o < input ? o : 2 * (input - 1) - o);
    }
    return map;
  };
  const int64_t h = x.rank() > 1 ? x.size(-2) : 1, w = x.size(-1);
  return resample(op, x, h * w > 0 ? x.numel() / (h * w) : 0, axis(h, 2), axis(w, 0), shape);
}

}  // namespace cnnx
