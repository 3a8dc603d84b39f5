// What the CPU device lends to its kernels: mill_host_services.cpu points at one of these. Included
// by files compiled for any SIMD target, so nothing here may become a function of its own.
#pragma once

#include <cstdint>

namespace mill::cpu {

class OneDnn;

enum GemmPolicy : int32_t {
  kGemmAutomatic = 0,  // whichever was measured to be faster at such sizes
  kGemmOwn = 1,        // the built-in kernels only
  kGemmOneDnn = 2,     // oneDNN wherever it can
};

struct Runtime {
  OneDnn* onednn = nullptr;  // NULL: the built-in kernels only
  // Set by the device's configure() while kernels may run: accessed with __atomic builtins.
  int32_t gemm_policy = kGemmAutomatic;
};

}  // namespace mill::cpu
