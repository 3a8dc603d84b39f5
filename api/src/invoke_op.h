// What the generated flat functions call.
#pragma once

#include "millrace/types.h"

namespace mill::api {

// out: the caller's pointers to its outputs, so that a NULL one is noticed.
mill_status invoke_op(mill_exec* exec, int32_t op, mill_tensor* const* in, uint32_t n_in,
                      const mill_attr* attrs, uint32_t n_attrs, mill_tensor** const* out,
                      uint32_t n_out, mill_error* err) noexcept;

}  // namespace mill::api
