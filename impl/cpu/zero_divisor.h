// Integer division by zero is refused before the first write, so that a refused division in place
// leaves its operand as it was.
#pragma once

#include <cstdint>
#include <cstdio>

#include "base/dtype.h"
#include "millrace/plugin.h"

namespace mill::cpu::MILL_TARGET {

// The first zero of an integer tensor, counted in row-major order over the axes along which it is
// not broadcast; -1 if there is none.
static inline int64_t first_zero(const mill_kernel_tensor& t) {
  int64_t at[MILL_MAX_RANK] = {};
  const int64_t size = dtype_size(t.dtype);
  const char* data = static_cast<const char*>(t.data);
  const uint64_t zero = 0;
  for (int64_t count = 0;; ++count) {
    if (__builtin_memcmp(data, &zero, static_cast<size_t>(size)) == 0) return count;
    int axis = t.rank - 1;
    for (; axis >= 0; --axis) {
      if (t.strides[axis] == 0 || t.dims[axis] == 1) continue;
      data += t.strides[axis] * size;
      if (++at[axis] < t.dims[axis]) break;
      data -= t.strides[axis] * size * t.dims[axis];
      at[axis] = 0;
    }
    if (axis < 0) return -1;
  }
}

static inline mill_status refuse_zero_divisor(const mill_kernel_args* args) {
  const int64_t zero = args->out[0]->numel == 0 ? -1 : first_zero(*args->in[1]);
  if (zero < 0) return MILL_OK;
  std::snprintf(args->error->text, sizeof(args->error->text),
                "division by zero at element %lld of b", static_cast<long long>(zero));
  return MILL_E_ARG;
}

}  // namespace mill::cpu::MILL_TARGET
