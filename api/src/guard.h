// What every exported function is wrapped in: handle checks, and the one place where exceptions
// become statuses.
#pragma once

#include <cstring>
#include <new>
#include <system_error>

#include "base/error.h"
#include "base/fork.h"
#include "base/handle.h"
#include "dispatch/exec.h"
#include "dispatch/user_error.h"
#include "millrace/millrace.h"

namespace mill::api {

// Fills err, if it is an error object, and returns the status.
mill_status report(mill_error* err, const char* function, Error& error) noexcept;
mill_status report(mill_error* err, const char* function, mill_status status,
                   const char* text) noexcept;
// Turns the exception in flight into a status.
mill_status translate(mill_error* err, const char* function) noexcept;

// In a sanitizer build any exported function can be made to fail at its start, in each way in which
// what it calls might: the test of the wall that no exception passes.
#if defined(MILL_FAULTS)
void fault_point();
#else
inline void fault_point() {}
#endif

// Runs a body that returns nothing (MILL_OK) or a status.
template <class Body>
mill_status guard(const char* function, mill_error* err, Body&& body) noexcept {
  try {
    fault_point();
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      return MILL_OK;
    } else {
      return body();
    }
  } catch (...) {
    return translate(err, function);
  }
}

template <class T>
T& need(T* handle, int32_t argument, const char* name) {
  if (valid(handle, T::kKind)) [[likely]]
    return *handle;
  if (!handle) fail_argument(MILL_E_ARG, argument, "%s is NULL", name);
  fail_argument(MILL_E_BAD_HANDLE, argument,
                "%s is no live handle of its kind: released, of another kind, or foreign", name);
}

// Null is allowed, anything else must be a live handle.
template <class T>
T* maybe(T* handle, int32_t argument, const char* name) {
  return handle ? &need(handle, argument, name) : nullptr;
}

template <class T>
T& need_out(T* out, int32_t argument, const char* name) {
  if (!out) fail_argument(MILL_E_ARG, argument, "%s is NULL", name);
  return *out;
}

// A handle output: null until the call has succeeded.
template <class T>
void clear_out(T** out, int32_t argument, const char* name) {
  need_out(out, argument, name) = nullptr;
}

// A refusal from below that names no argument is about this one.
template <class Body>
decltype(auto) at_argument(int32_t argument, Body&& body) {
  try {
    return body();
  } catch (Error& error) {
    if (error.argument() < 0 && error.status() != MILL_E_MEMORY) error.with_argument(argument);
    throw;
  }
}

inline void check_fork(const mill_context& context) {
  if (context.fork_generation != fork_generation()) [[unlikely]] {
    fail(MILL_E_FORKED, "the context was made before fork(); make a new one in the child");
  }
}

inline mill_context& need_context(mill_context* context, int32_t argument = 0) {
  mill_context& found = need(context, argument, "context");
  check_fork(found);
  return found;
}

inline mill_context& context_of(const Device& device) {
  return *static_cast<mill_context*>(device.owner());
}
inline mill_context& context_of(const mill_tensor& tensor) {
  return context_of(tensor.device());
}

inline mill_tensor& need_tensor(const mill_tensor* tensor, int32_t argument, const char* name) {
  mill_tensor& found = need(const_cast<mill_tensor*>(tensor), argument, name);
  check_fork(context_of(found));
  return found;
}

// The tensor must be usable with the exec.
inline void check_same_device(const mill_exec& exec, const mill_tensor& tensor, int32_t argument,
                              const char* name) {
  if (&tensor.device() != &exec.device) {
    check_fork(context_of(tensor));
    const bool same = tensor.device().owner() == exec.device.owner();
    fail_argument(MILL_E_DEVICE, argument, "%s is on %s %u of %s context, the exec is on %s %u",
                  name, tensor.device().table().name, tensor.device().index(),
                  same ? "the same" : "another", exec.device.table().name, exec.device.index());
  }
}

// Hands a new tensor, future or call to the caller, and to the exec's scope if one is open.
template <class T>
void give(mill_exec& exec, Ref<T> made, T** out) {
  exec.reserve_notes(1);
  exec.note(made.get());
  *out = made.release();
}

// No chained struct is known yet; those that say so may be passed over.
inline void check_chain(const mill_struct* next, const char* name, int32_t argument) {
  constexpr int kMost = 32;
  for (int k = 0; next; next = next->next, ++k) {
    if (k == kMost) {
      fail_argument(MILL_E_ARG, argument, "%s->next is a chain of more than %d structs", name,
                    kMost);
    }
    if ((next->type & MILL_STRUCT_SKIPPABLE) == 0) {
      fail_argument(MILL_E_UNSUPPORTED_STRUCT, argument,
                    "%s->next holds a struct of type %u, none is known here", name, next->type);
    }
  }
}

// Structs that may grow: reads a caller's struct of any size into the one that this library knows.
template <class T>
T read_struct(const T* given, uint32_t type, const char* name, int32_t argument) {
  T out{};
  if (!given) return out;
  const uint32_t size = given->size;
  if (given->type != type) {
    fail_argument(MILL_E_ARG, argument, "%s->type is %u, it must be %u", name, given->type, type);
  }
  if (size < sizeof(mill_struct) || size > 65536) {
    fail_argument(MILL_E_ARG, argument, "%s->size is %u, this library's is %zu", name, size,
                  sizeof(T));
  }
  check_chain(given->next, name, argument);
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (uint32_t k = sizeof(T); k < size; ++k) {
    if (bytes[k] != 0) {
      fail_argument(MILL_E_TOO_NEW, argument,
                    "%s->size is %u and byte %u is set, this library knows %zu bytes", name, size,
                    k, sizeof(T));
    }
  }
  std::memcpy(&out, given, size < sizeof(T) ? size : sizeof(T));
  return out;
}

// The other way: fills what fits of the caller's struct, zeroes what this library does not know.
template <class T>
void write_struct(T* given, uint32_t type, const char* name, int32_t argument, T values) {
  need_out(given, argument, name);
  if (given->type != type) {
    fail_argument(MILL_E_ARG, argument, "%s->type is %u, it must be %u", name, given->type, type);
  }
  const uint32_t size = given->size;
  if (size < sizeof(mill_struct) || size > 65536) {
    fail_argument(MILL_E_ARG, argument, "%s->size is %u, this library's is %zu", name, size,
                  sizeof(T));
  }
  check_chain(given->next, name, argument);
  values.size = size;
  values.type = type;
  values.next = given->next;
  auto* bytes = reinterpret_cast<unsigned char*>(given);
  std::memcpy(bytes, &values, size < sizeof(T) ? size : sizeof(T));
  if (size > sizeof(T)) std::memset(bytes + sizeof(T), 0, size - sizeof(T));
}

// Copies text out. MILL_INCOMPLETE and the needed size, NUL included, when the buffer is short.
mill_status copy_text(const char* text, char* buffer, uint64_t capacity, uint64_t* out_needed);
// A string argument with a length or MILL_NTS, as a NUL-terminated copy.
std::string need_text(const char* text, uint64_t length, int32_t argument, const char* name);

}  // namespace mill::api
