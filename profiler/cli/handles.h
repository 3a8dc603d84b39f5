// The library's handles, released on the way out, and its failures as exceptions.
#pragma once

#include <millrace/millrace.h>
#include <millrace/profiler.h>

#include <memory>
#include <string>
#include <string_view>

#include "profiler/cli/output.h"

namespace mill::cli {

template <auto release>
struct Release {
  template <class T>
  void operator()(T* handle) const {
    release(handle);
  }
};
template <class T, auto release>
using Handle = std::unique_ptr<T, Release<release>>;

using ErrorHandle = Handle<mill_error, mill_error_release>;
using ContextHandle = Handle<mill_context, mill_context_release>;
using ExecHandle = Handle<mill_exec, mill_exec_release>;
using StreamHandle = Handle<mill_stream, mill_stream_release>;
using EventHandle = Handle<mill_event, mill_event_release>;
using TensorHandle = Handle<mill_tensor, mill_tensor_release>;
using FutureHandle = Handle<mill_future, mill_future_release>;
using LoaderHandle = Handle<mill_loader, mill_loader_release>;
using ProfHandle = Handle<mill_prof, mill_prof_release>;
using ViewHandle = Handle<mill_prof_view, mill_prof_view_release>;
using ResultHandle = Handle<mill_prof_result, mill_prof_result_release>;

// A struct of the library with its header filled in.
template <class T>
T sized(uint32_t type) {
  T made{};
  made.size = sizeof(T);
  made.type = type;
  return made;
}

// The error object of one thread.
class Error {
 public:
  Error() {
    mill_error* made = nullptr;
    if (mill_error_create(&made) < 0) throw std::bad_alloc();
    handle_.reset(made);
  }
  operator mill_error*() const { return handle_.get(); }  // NOLINT: passed to every call
  // The sentence, without the name of the function that a user of the command never called.
  std::string text() const {
    std::string_view message = mill_error_message(handle_.get());
    const std::string_view operation = mill_error_operation(handle_.get());
    if (!operation.empty() && message.starts_with(operation) &&
        message.substr(operation.size()).starts_with(": "))
      message.remove_prefix(operation.size() + 2);
    return safe_text(message.empty() ? "the library gave no reason" : message);
  }

 private:
  ErrorHandle handle_;
};

// Throws Failure for a status below 0; passes the others on.
inline mill_status check(mill_status status, const Error& error) {
  if (status < 0) throw Failure(error.text());
  return status;
}

inline ContextHandle make_context(const Error& error) {
  mill_context* made = nullptr;
  check(mill_context_create(nullptr, &made, error), error);
  return ContextHandle(made);
}

}  // namespace mill::cli
