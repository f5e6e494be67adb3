// What the choice of a convolution algorithm by time shares with the choice by estimated cost.
#pragma once

#include <functional>

#include "ops/conv2d/conv2d.h"

namespace cnnx {

/// The device's algorithm of this name, or null.
template <class T>
const Conv2dKernels<T>* find_conv2d(Device device, std::string_view name);

/// The pinned algorithm, if there is one on the device and it accepts the geometry; else null.
template <class T>
const Conv2dKernels<T>* pinned_conv2d(const Conv2dGeometry& g, ConvPass pass, Device device);

/// Whether an algorithm accepts the geometry and its workspace is within the limit, which is asked for one thread: the
/// choice by cost must not depend on their number.
template <class T>
bool is_eligible(const Conv2dKernels<T>& algorithm, const Conv2dGeometry& g, ConvPass pass);

/// Computes the pass with an algorithm, into an output of the caller's.
template <class T>
using ConvRun = std::function<void(const Conv2dKernels<T>& algorithm, T* output)>;

/// The algorithm that autotune remembers for the geometry. The first time it runs each on scratch memory for an output
/// of `outputs` values, or, where measuring is impossible, falls back on the least estimated cost. Then that stays for
/// the process, so that a rehearsal and the real pass, or a captured graph and its calls, agree.
template <class T>
const Conv2dKernels<T>& autotuned_conv2d(const Conv2dGeometry& g, ConvPass pass, Device device, int64_t outputs,
                                         const ConvRun<T>& run);

}  // namespace cnnx
