// Weights in an algorithm's own order.
#pragma once

#include "ops/conv2d/conv2d.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {

/// Whether the weight is likely to be the same in the next call.
inline bool stays(const Tensor& weight) {
  const Widening* const widening = Widening::current();
  return !(widening && widening->made(weight)) && (!is_grad_enabled() || !weight.requires_grad()) &&
         !weight.impl()->storage->may_change_unseen();
}

/// The weight in the algorithm's own order, made once and kept with the weight's buffer while its values stay the same.
template <class T>
std::shared_ptr<const DerivedValues> prepared_weight(const Conv2dKernels<T>& algorithm, const Conv2dGeometry& g,
                                                     const Tensor& weight) {
  Storage& storage = *weight.impl()->storage;
  const std::array<int64_t, 4> variant{g.out_channels, g.groups, g.h.kernel, g.w.kernel};  // may differ in views
  auto kept = storage.derived();
  if (kept && kept->key == &algorithm && kept->variant == variant) return kept;
  const auto bytes = static_cast<size_t>(algorithm.prepared_values(g)) * sizeof(T);
  const MemoryKindGuard kind(MemoryKind::kParameter);
  auto made = std::make_shared<DerivedValues>(&algorithm, bytes, weight.device());
  made->variant = variant;
  made->stamp = storage.stamp();
  algorithm.prepare(g, weight.data<T>(), static_cast<T*>(made->values.data()));
  storage.set_derived(made);
  return made;
}

}  // namespace cnnx
