// The one exception type of the engine. It carries a status and one sentence in a fixed buffer, so
// that it can report running out of memory without needing any.
#pragma once

#include <cstdarg>
#include <cstdint>

#include "millrace/types.h"

namespace mill {

class Error {
 public:
  static constexpr int kTextSize = 1024;
  static constexpr int kNameSize = 64;

  Error(mill_status status, const char* format, ...) __attribute__((format(printf, 3, 4)));
  Error(mill_status status, int32_t argument, const char* format, va_list values);

  mill_status status() const { return status_; }
  int32_t argument() const { return argument_; }   // ordinal of the offending argument, -1 if none
  int32_t native_code() const { return native_; }  // errno where a system call failed, else 0
  const char* text() const { return text_; }
  const char* operation() const { return operation_; }  // "" until somebody who knows fills it in

  Error& with_operation(const char* name);
  Error& with_argument(int32_t ordinal);
  Error& with_native(int32_t code);
  // Sizes of an out-of-memory condition, in bytes.
  Error& with_memory(uint64_t requested, uint64_t in_use, uint64_t limit);
  uint64_t requested_bytes() const { return requested_; }
  uint64_t in_use_bytes() const { return in_use_; }
  uint64_t limit_bytes() const { return limit_; }

 private:
  mill_status status_;
  int32_t argument_ = -1;
  int32_t native_ = 0;
  uint64_t requested_ = 0;
  uint64_t in_use_ = 0;
  uint64_t limit_ = 0;
  char operation_[kNameSize] = {};
  char text_[kTextSize] = {};
};

// Throws Error. A text reads: what was wrong, with both values; the operation's name is added by
// who knows it.
[[noreturn]] void fail(mill_status status, const char* format, ...)
    __attribute__((format(printf, 2, 3)));
[[noreturn]] void fail_argument(mill_status status, int32_t argument, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

}  // namespace mill
