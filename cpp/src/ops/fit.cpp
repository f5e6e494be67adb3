// The size formula (W - F + 2P) / S + 1 and the global fit mode.
#include <atomic>

#include "check.h"
#include "ops/window.h"

namespace cnnx {
namespace {

std::atomic<Fit> global_fit{Fit::kFloor};
constexpr int64_t kLargest = int64_t{1} << 31;  // of kernel, stride, dilation, padding: products stay far from overflow

/// The strict error: the formula with its numbers, and the two nearest sizes that fit.
[[noreturn]] void fail_fit(std::string_view op, std::string_view name, const WindowAxis& axis, int64_t span) {
  const int64_t remainder = span % axis.stride;
  const double exact = static_cast<double>(span) / static_cast<double>(axis.stride) + 1;
  const int64_t pads = axis.pad_before + axis.pad_after;
  const std::string padding = axis.pad_before == axis.pad_after
                                  ? std::to_string(axis.pad_before)
                                  : std::to_string(axis.pad_before) + "+" + std::to_string(axis.pad_after);
  const std::string dilated =
      axis.dilation > 1 ? format(" (dilation {}: extent {})", axis.dilation, axis.extent()) : "";
  const int64_t smaller = axis.input - remainder, larger = smaller + axis.stride;
  const std::string sizes = smaller > 0 ? format("{} {} or {}", name, smaller, larger) : format("{} {}", name, larger);
  fail(op,
       "{} {} does not fit kernel {}{}, stride {}, padding {}: ({} - {} + {}) / {} + 1 = {}. Try {}, or fit=\"floor\".",
       name, axis.input, axis.kernel, dilated, axis.stride, padding, axis.input, axis.extent(), pads, axis.stride,
       exact, sizes);
}

WindowAxis make_axis(std::string_view op, std::string_view name, WindowAxis axis, bool same, Fit fit) {
  const auto [input, kernel, stride, dilation, before, after, output] = axis;
  check(kernel >= 1, op, "kernel size must be at least 1; got {} for the {}.", kernel, name);
  check(stride >= 1, op, "stride must be at least 1; got {} for the {}.", stride, name);
  check(dilation >= 1, op, "dilation must be at least 1; got {} for the {}.", dilation, name);
  check(before >= 0 && after >= 0, op, "padding must not be negative; got {} and {} for the {}.", before, after, name);
  check(std::max({kernel, stride, dilation, before, after}) < kLargest, op,
        "kernel size, stride, dilation and padding must be below 2^31; got {}, {}, {}, ({}, {}) for the {}.", kernel,
        stride, dilation, before, after, name);
  if (same) {
    check(axis.stride == 1, op, "padding=\"same\" needs stride 1; got {} for the {}. Give the padding as a number.",
          axis.stride, name);
    axis.pad_before = (axis.extent() - 1) / 2;
    axis.pad_after = axis.extent() - 1 - axis.pad_before;
  }
  const int64_t span = axis.input + axis.pad_before + axis.pad_after - axis.extent();
  check(span >= 0, op,
        "kernel {} with dilation {} covers {} values, more than the padded {} of {}. Use a larger input, a smaller "
        "kernel or more padding.",
        axis.kernel, axis.dilation, axis.extent(), name, span + axis.extent());
  axis.output = span / axis.stride + 1;
  if (span % axis.stride != 0) {
    if (fit == Fit::kStrict) fail_fit(op, name, axis, span);
    if (fit == Fit::kCeil && axis.output * axis.stride < axis.input + axis.pad_before) ++axis.output;
  }
  return axis;
}

}  // namespace

Fit fit_mode() { return global_fit.load(std::memory_order_relaxed); }

void set_fit_mode(Fit fit) {
  check(fit != Fit::kDefault, "fit_mode", "expected \"floor\", \"ceil\" or \"strict\".");
  global_fit.store(fit, std::memory_order_relaxed);
}

Window2d make_window2d(std::string_view op, int64_t input_h, int64_t input_w, Pair kernel, Pair stride, Pair dilation,
                       const Padding& padding, Fit fit) {
  if (fit == Fit::kDefault) fit = fit_mode();
  return {make_axis(op, "height", {input_h, kernel.h, stride.h, dilation.h, padding.top, padding.bottom},
                    padding.is_same, fit),
          make_axis(op, "width", {input_w, kernel.w, stride.w, dilation.w, padding.left, padding.right},
                    padding.is_same, fit)};
}

}  // namespace cnnx
