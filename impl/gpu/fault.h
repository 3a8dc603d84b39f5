// What a wait says about a fault that a kernel has raised.
#pragma once

#include <cstdio>

#include "gpu/facade.h"

namespace mill::gpu {

// "softmax" for its number; "op 7" in `buffer` for one without a kernel.
inline const char* op_name(int32_t op, char (&buffer)[24]) {
  switch (op) {
#define MILL_NAME(number, name) \
  case number: return #name;
    MILL_GPU_OPS(MILL_NAME)
#undef MILL_NAME
    default: break;
  }
  std::snprintf(buffer, sizeof buffer, "op %d", op);
  return buffer;
}

// Takes a raised fault off the slot, which may be written again by kernels then. MILL_OK if there
// is none. The status is what an inline device answers at once.
inline mill_status take_fault(fault_slot* slot, mill_kernel_error* error) {
  if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != 2) [[likely]]
    return MILL_OK;
  char name[24];
  const bool zero = slot->low == slot->high;
  if (zero) {
    std::snprintf(error->text, sizeof error->text,
                  "%s: element %lld of input %d is 0, it must not be", op_name(slot->op, name),
                  static_cast<long long>(slot->position), slot->argument);
  } else {
    std::snprintf(error->text, sizeof error->text,
                  "%s: element %lld of input %d is %lld, it must be in [%lld, %lld)",
                  op_name(slot->op, name), static_cast<long long>(slot->position), slot->argument,
                  static_cast<long long>(slot->value), static_cast<long long>(slot->low),
                  static_cast<long long>(slot->high));
  }
  __atomic_store_n(&slot->state, 0u, __ATOMIC_RELEASE);
  return zero ? MILL_E_ARG : MILL_E_INDEX;
}

}  // namespace mill::gpu
