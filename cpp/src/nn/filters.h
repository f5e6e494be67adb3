// What the layers that slide filters over images share: their fields, the checks of their arguments, their parameters.
#pragma once

#include <algorithm>

#include "check.h"
#include "nn/fields.h"
#include "nn/init.h"

namespace cnnx {

/// The constructor arguments of Conv2d, ConvTranspose2d and LocallyConnected2d, each in the order that torch has.
template <class Args>
void visit_filters(FieldVisitor& visitor, Args& args) {
  auto& o = args.options;
  constexpr bool kTransposed = requires { o.output_padding; };
  visitor.field("in_channels", args.in_channels);
  visitor.field("out_channels", args.out_channels);
  visitor.field("kernel_size", args.kernel_size);
  if constexpr (requires { args.input_size; }) visitor.field("input_size", args.input_size);
  visitor.field("stride", o.stride);
  visitor.field("padding", o.padding);
  if constexpr (kTransposed) visitor.field("output_padding", o.output_padding);
  if constexpr (!kTransposed) visitor.field("dilation", o.dilation);
  if constexpr (requires { o.groups; }) visitor.field("groups", o.groups);
  visitor.field("bias", o.bias);
  if constexpr (kTransposed) visitor.field("dilation", o.dilation);
  if constexpr (requires { o.fit; }) visitor.field("fit", o.fit);
  visitor.field("dtype", o.dtype);
}

/// Of Conv2d and ConvTranspose2d; LocallyConnected2d's are checked with the input's size.
template <class Args>
void check_filters(const char* op, const Args& args) {
  const auto& o = args.options;
  check_positive(op, "in_channels", args.in_channels);
  check_positive(op, "out_channels", args.out_channels);
  check_positive(op, "groups", o.groups);
  for (const auto& [name, pair] :
       {std::pair("kernel_size", args.kernel_size), std::pair("stride", o.stride), std::pair("dilation", o.dilation)}) {
    check_positive(op, name, std::min(pair.h, pair.w));
  }
  const Padding& p = o.padding;
  check(std::min({p.top, p.bottom, p.left, p.right}) >= 0, op, "padding must not be negative; got ({}, {}, {}, {}).",
        p.top, p.bottom, p.left, p.right);
  check(args.in_channels % o.groups == 0 && args.out_channels % o.groups == 0, op,
        "groups must divide in_channels and out_channels; got groups {}, in_channels {}, out_channels {}.", o.groups,
        args.in_channels, args.out_channels);
}

/// A weight of (filters, channels, R, S), and a bias unless its shape is empty.
inline void register_filters(Module& module, const Shape& weight, const Shape& bias, DType dtype) {
  const auto extent = [&](size_t from_end) { return static_cast<double>(weight[weight.rank() - from_end]); };
  const double fan_in = extent(3) * extent(2) * extent(1);
  module.register_parameter("weight", default_parameter(weight, fan_in, dtype));
  module.register_parameter("bias", bias.rank() > 0 ? default_parameter(bias, fan_in, dtype) : Tensor());
}

}  // namespace cnnx
