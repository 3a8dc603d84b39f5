// What the tables of a device are made with: refusals in words, and no exception that leaves.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <new>

#include "millrace/plugin.h"

namespace mill::gpu {

__attribute__((format(printf, 3, 4))) inline mill_status refuse(mill_kernel_error* error,
                                                                mill_status status,
                                                                const char* format, ...) {
  va_list values;
  va_start(values, format);
  std::vsnprintf(error->text, sizeof error->text, format, values);
  va_end(values);
  return status;
}

// For %llu and %llx.
inline unsigned long long shown(uint64_t n) {
  return n;
}
inline unsigned long long shown(const void* p) {
  return reinterpret_cast<uintptr_t>(p);
}

// f(), or what it threw as a status. device: the plugin's name.
template <class F>
mill_status guarded(const char* device, mill_kernel_error* error, F&& f) noexcept {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return refuse(error, MILL_E_MEMORY, "out of host memory");
  } catch (...) {
    return refuse(error, MILL_E_INTERNAL, "unexpected exception in the %s device", device);
  }
}

}  // namespace mill::gpu
