// Which instruction set the CPU kernels use.
#include <cstdlib>
#include <string_view>

#include "kernels.h"

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif

namespace cnnx {
namespace {

CpuIsa detect() {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return CpuIsa::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return CpuIsa::kAvx2;
#elif defined(_M_X64)
  int regs[4];
  __cpuidex(regs, 7, 0);
  if (regs[1] & (1 << 5)) return CpuIsa::kAvx2;
#endif
  return CpuIsa::kGeneric;
}

CpuIsa choose() {
  const CpuIsa best = detect();
  const char* text = std::getenv("CNNX_ISA");
  const std::string_view wanted = text ? text : "";
  if (wanted == "generic") return CpuIsa::kGeneric;
  if (wanted == "avx2" && best == CpuIsa::kAvx512) return CpuIsa::kAvx2;
  return best;
}

}  // namespace

CpuIsa cpu_isa() {
  static const CpuIsa isa = choose();
  return isa;
}

std::string cpu_isa_name() {
  switch (cpu_isa()) {
    case CpuIsa::kAvx512: return "avx512";
    case CpuIsa::kAvx2: return "avx2";
    default: return "generic";
  }
}

}  // namespace cnnx
