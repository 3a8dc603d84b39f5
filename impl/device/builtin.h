// The devices that are linked in.
#pragma once

#include <cstdint>

#include "device/device.h"

namespace mill {

struct BuiltinDevice {
  TableOwner table;
  const mill_host_services* services =
      nullptr;  // what its kernels are handed; lives as long as the table
};

// threads: as mill_context_opts.threads; gemm: MILL_GEMM_... Throws Error.
BuiltinDevice make_cpu_device(uint32_t threads, int32_t gemm);

}  // namespace mill
