// What the functions of the exported table share: an exception becomes a status and a text, a
// handle what it stands for.
#pragma once

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string_view>

#include "millrace/profiler_plugin.h"
#include "profiler/plugin/view.h"

namespace mill::prof {

inline mill_status refuse(mill_kernel_error* error, mill_status status, std::string_view text) {
  std::snprintf(error->text, sizeof error->text, "%.*s",
                static_cast<int>(std::min<size_t>(text.size(), sizeof error->text - 1)),
                text.data());
  return status;
}

template <class Body>
mill_status guarded(mill_kernel_error* error, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return refuse(error, MILL_E_MEMORY, "the profiler is out of memory");
  } catch (const std::exception& failure) {
    return refuse(error, MILL_E_INTERNAL, failure.what());
  } catch (...) {
    return refuse(error, MILL_E_INTERNAL, "the profiler failed");
  }
}

inline const View& view_of(void* self) {
  return *static_cast<const View*>(self);
}

// The table's: view_export.cpp.
mill_status view_export(void* self, int32_t format, const char* options, mill_prof_writer writer,
                        void* user, mill_kernel_error* error);

}  // namespace mill::prof
