#include "base/error.h"

#include <cstdio>
#include <cstring>

namespace mill {

namespace {
void copy_name(char (&to)[Error::kNameSize], const char* from) {
  std::snprintf(to, sizeof to, "%s", from ? from : "");
}
}  // namespace

Error::Error(mill_status status, const char* format, ...) : status_(status) {
  va_list values;
  va_start(values, format);
  std::vsnprintf(text_, sizeof text_, format, values);
  va_end(values);
}

Error::Error(mill_status status, int32_t argument, const char* format, va_list values)
    : status_(status), argument_(argument) {
  std::vsnprintf(text_, sizeof text_, format, values);
}

Error& Error::with_operation(const char* name) {
  if (operation_[0] == 0) copy_name(operation_, name);
  return *this;
}

Error& Error::with_argument(int32_t ordinal) {
  argument_ = ordinal;
  return *this;
}

Error& Error::with_native(int32_t code) {
  native_ = code;
  return *this;
}

Error& Error::with_memory(uint64_t requested, uint64_t in_use, uint64_t limit) {
  requested_ = requested;
  in_use_ = in_use;
  limit_ = limit;
  return *this;
}

void fail(mill_status status, const char* format, ...) {
  va_list values;
  va_start(values, format);
  Error error(status, -1, format, values);
  va_end(values);
  throw error;
}

void fail_argument(mill_status status, int32_t argument, const char* format, ...) {
  va_list values;
  va_start(values, format);
  Error error(status, argument, format, values);
  va_end(values);
  throw error;
}

}  // namespace mill
