// The one path by which every op runs: from the C ABI, from gradient rules, from optimizers.
#pragma once

#include <cstdint>

#include "dispatch/op_rules.h"

namespace mill {

// Runs op number `op`. out[k] null on entry: allocated, and one reference given to the caller; else
// written in place. Outputs that were null are null again when it throws.
void invoke(Exec& exec, int32_t op, mill_tensor* const* in, uint32_t n_in, const mill_attr* attrs,
            uint32_t n_attrs, mill_tensor** out, uint32_t n_out);

// As invoke for a one-output op whose row-major result is added to `out` instead of stored. matmul
// and linear only.
void invoke_accumulate(Exec& exec, int32_t op, mill_tensor* const* in, uint32_t n_in,
                       const mill_attr* attrs, uint32_t n_attrs, mill_tensor* out);

// The dtype in which an op of this policy takes an input of `dtype` on this exec, where none of its
// inputs is f64.
int32_t autocast_dtype(const Exec& exec, Autocast policy, int32_t dtype);

// Row-major strides in the order in which `model`'s strides fall, so that channels-last results
// stay channels-last. Both have the same rank.
void strides_like(OutputSpec& spec, const mill_kernel_tensor& model);

// The shape rule of pointwise ops, for those that check more than shapes.
void infer_pointwise(OpCall& call);

inline mill_attr int_attr(int32_t id, int64_t value) {
  return {id, MILL_ATTR_INT, value, 0.0, nullptr, 0};
}
inline mill_attr float_attr(int32_t id, double value) {
  return {id, MILL_ATTR_FLOAT, 0, value, nullptr, 0};
}
inline mill_attr ints_attr(int32_t id, const int64_t* values, uint64_t n) {
  return {id, MILL_ATTR_INTS, 0, 0.0, values, n};
}
inline mill_attr dtype_attr(int32_t id, int32_t dtype) {
  return {id, MILL_ATTR_DTYPE, dtype, 0.0, nullptr, 0};
}
inline mill_attr string_attr(int32_t id, const char* text) {
  return {id, MILL_ATTR_STRING, 0, 0.0, text, __builtin_strlen(text)};
}

}  // namespace mill
