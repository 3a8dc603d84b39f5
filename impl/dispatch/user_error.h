// The public error object, and its use as the channel through which a user's callback explains a
// failure.
#pragma once

#include "base/error.h"
#include "base/handle.h"
#include "millrace/error.h"

struct mill_error : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::error;

  mill_status status = MILL_OK;
  int32_t argument = -1;
  int32_t native = 0;
  uint64_t requested = 0;
  uint64_t in_use = 0;
  uint64_t limit = 0;
  char operation[mill::Error::kNameSize] = {};
  char message[mill::Error::kNameSize + mill::Error::kTextSize + 64] = {};

  void clear() noexcept;
  void assign(const mill::Error& error) noexcept;
  void assign(mill_status failure, const char* where, const char* text) noexcept;
};

namespace mill {

// An error object for one callback, released with the scope.
class UserError {
 public:
  UserError() : error_(slab_new<mill_error>()) {}
  ~UserError() {
    if (error_->release()) slab_delete(error_);
  }
  UserError(const UserError&) = delete;
  UserError& operator=(const UserError&) = delete;
  mill_error* handle() { return error_; }

  // The callback's status goes out unchanged; the text is what it or an op it called left, else a
  // plain sentence.
  [[noreturn]] void rethrow(mill_status status, const char* callback) const {
    if (error_->message[0] != 0) fail(status, "%s", error_->message);
    fail(status, "the callback of %s returned status %d", callback, status);
  }

 private:
  mill_error* error_;
};

}  // namespace mill
