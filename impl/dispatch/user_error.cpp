#include "dispatch/user_error.h"

#include <cstdio>

void mill_error::clear() noexcept {
  status = MILL_OK;
  argument = -1;
  native = 0;
  requested = in_use = limit = 0;
  operation[0] = 0;
  message[0] = 0;
}

void mill_error::assign(const mill::Error& error) noexcept {
  assign(error.status(), error.operation(), error.text());
  argument = error.argument();
  native = error.native_code();
  requested = error.requested_bytes();
  in_use = error.in_use_bytes();
  limit = error.limit_bytes();
}

void mill_error::assign(mill_status failure, const char* where, const char* text) noexcept {
  clear();
  status = failure;
  std::snprintf(operation, sizeof operation, "%s", where);
  std::snprintf(message, sizeof message, where[0] != 0 ? "%s: %s" : "%s%s", where, text);
}
