// What the functions of compose.h share: their operands, and one result.
#pragma once

#include <utility>

#include "guard.h"
#include "ops/calls.gen.h"

namespace mill::api {

inline mill_tensor* need_operand(mill_exec& exec, mill_tensor* tensor, int32_t argument,
                                 const char* name) {
  mill_tensor& found = need(tensor, argument, name);
  check_same_device(exec, found, argument, name);
  return &found;
}
inline mill_tensor* maybe_operand(mill_exec& exec, mill_tensor* tensor, int32_t argument,
                                  const char* name) {
  return tensor ? need_operand(exec, tensor, argument, name) : nullptr;
}
void need_operands(mill_exec& exec, mill_tensor* const* inputs, uint32_t n_inputs,
                   int32_t argument);
void need_list(const int64_t* list, uint32_t n, int32_t argument, const char* name);

// Runs body() -> TensorRef and hands over what it made, or copies it into the tensor given.
template <class Body>
mill_status compose(const char* function, mill_exec* exec, mill_tensor** out, int32_t argument,
                    mill_error* err, Body&& body) {
  return guard(function, err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    need_out(out, argument, "out");
    if (*out) need_operand(e, *out, argument, "out");
    TensorRef made = body(e);
    if (*out) {
      op::copy(e, made.get(), *out);
    } else {
      give(e, std::move(made), out);
    }
  });
}

}  // namespace mill::api
