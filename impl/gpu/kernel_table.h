// The kernels of a device by op and lead dtype: the dtype of the first input that is there, else of
// the first output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "gpu/facade.h"
#include "gpu/fault.h"
#include "gpu/guard.h"

namespace mill::gpu {

class KernelTable {
 public:
  // Throws std::bad_alloc.
  void add(const KernelList& list) {
    for (size_t i = 0; i < list.count; ++i) {
      const KernelEntry& entry = list.entries[i];
      if (entry.op >= op_count_) {
        kernels_.resize(place(entry.op + 1, 0));
        op_count_ = entry.op + 1;
      }
      for (int32_t dtype = 0; dtype < MILL_DTYPE_COUNT; ++dtype) {
        if ((entry.dtypes & dtype_bit(dtype)) != 0) kernels_[place(entry.op, dtype)] = entry.kernel;
      }
    }
  }

  // In place of what was added for an op.
  void replace(int32_t op, int32_t dtype, const mill_kernel& kernel) {
    kernels_[place(op, dtype)] = kernel;
  }

  // dtypes: of n operands, the inputs first. Null if there is none.
  const mill_kernel* find(int32_t op, const int32_t* dtypes, uint32_t n) const {
    const int32_t dtype = lead(dtypes, n);
    if (op < 0 || op >= op_count_ || !is_dtype(dtype)) return nullptr;
    const mill_kernel& kernel = kernels_[place(op, dtype)];
    return kernel.launch ? &kernel : nullptr;
  }

  // The same for the plugin's table. device: the plugin's name.
  mill_status resolve(int32_t op, const int32_t* dtypes, uint32_t n, const char* device,
                      mill_kernel* out, mill_kernel_error* error) const {
    if (const mill_kernel* kernel = find(op, dtypes, n)) {
      *out = *kernel;
      return MILL_OK;
    }
    char name[24];
    return refuse(error, MILL_E_UNSUPPORTED, "no kernel for %s on %s on the %s device",
                  op_name(op, name), dtype_name(lead(dtypes, n)), device);
  }

 private:
  static size_t place(int32_t op, int32_t dtype) {
    return static_cast<size_t>(op) * MILL_DTYPE_COUNT + static_cast<size_t>(dtype);
  }
  static int32_t lead(const int32_t* dtypes, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i)
      if (dtypes[i] != MILL_DTYPE_NONE) return dtypes[i];
    return MILL_DTYPE_NONE;
  }

  std::vector<mill_kernel> kernels_;
  int32_t op_count_ = 0;
};

}  // namespace mill::gpu
