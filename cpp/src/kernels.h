// The only device switch: kernels<K>(device) is the table of kernels of type K for a device.
//
// Each op declares a struct of function pointers, templated on the element type, in ops/<op>.h. Its ops/<op>_cpu.cpp is
// compiled once for each instruction set with CNNX_ISA naming the namespace, and specialises table<K>() there:
//
//   namespace cnnx::CNNX_ISA {
//   template <> const ReluKernels<float>& table() { static constexpr ReluKernels<float> t{...}; return t; }
//   }
//
// The right one is chosen at run time. ops/<op>_cuda.cu specialises cuda::table<K>() in the CUDA library.
#pragma once

#include "cnnx/device.h"
#include "mute.h"

namespace cnnx {

namespace generic {
template <class Kernels>
const Kernels& table();
}
namespace avx2 {
template <class Kernels>
const Kernels& table();
}
namespace avx512 {
template <class Kernels>
const Kernels& table();
}

enum class CpuIsa { kGeneric, kAvx2, kAvx512 };
/// The best instruction set of this machine, or the lower one that CNNX_ISA asks for.
CpuIsa cpu_isa();

/// Raises CudaError: this build has no CUDA kernels.
[[noreturn]] void raise_no_cuda();

template <class Kernels>
const Kernels& cpu_kernels() {
#if defined(__x86_64__) || defined(_M_X64)
  switch (cpu_isa()) {
    case CpuIsa::kAvx512: return avx512::table<Kernels>();
    case CpuIsa::kAvx2: return avx2::table<Kernels>();
    case CpuIsa::kGeneric: break;
  }
#endif
  return generic::table<Kernels>();
}

template <class Kernels>
const Kernels& kernels(Device device) {
  if (device.is_cuda()) raise_no_cuda();
  if (device.is_meta()) {
    static const Kernels muted = mute(cpu_kernels<Kernels>());
    return muted;
  }
  return cpu_kernels<Kernels>();
}

}  // namespace cnnx
