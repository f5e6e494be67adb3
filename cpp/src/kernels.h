// The only device switch: kernels<K>(device) is the table of kernels of type K for a device.
//
// Each op declares a struct of function pointers, templated on the element type, in ops/<op>.h. Its ops/<op>_cpu.cpp is
// compiled once for each instruction set with CNNX_ISA naming the namespace, and specialises table<K>() there:
//
//   namespace cnnx::CNNX_ISA {
//   template <> const ReluKernels<float>& table() { static constexpr ReluKernels<float> t{...}; return t; }
//   }
//
// The right one is chosen at run time. ops/<op>_cuda.cu specialises cuda::table<K>() in the CUDA library, which is
// asked for it by the name of its type.
#pragma once

#include <typeinfo>

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

/// The table of this type in the CUDA library. Raises CudaError if it has none, or if there is no library or no device.
const void* cuda_table(const std::type_info& type);
/// What this thread launches next runs on this device. Raises CudaError.
void use_cuda_device(int device);

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
const Kernels& cuda_kernels(Device device) {
  static const Kernels& table = *static_cast<const Kernels*>(cuda_table(typeid(Kernels)));
  use_cuda_device(device.index);
  return table;
}

template <class Kernels>
const Kernels& kernels(Device device) {
  if (device.is_cuda()) return cuda_kernels<Kernels>(device);
  if (device.is_meta()) {
    static const Kernels muted = mute(cpu_kernels<Kernels>());
    return muted;
  }
  return cpu_kernels<Kernels>();
}

}  // namespace cnnx
