// Helpers that shape and gradient rules share.
#pragma once

#include <cstdint>

#include "dispatch/exec.h"
#include "dispatch/invoke.h"
#include "dispatch/op_rules.h"
#include "ops/calls.gen.h"

namespace mill::ops {

// Non-negative axis of a tensor of this rank. Throws MILL_E_ARG naming both values.
int64_t normal_axis(int64_t axis, int32_t rank, const char* name);
// Writes sorted, distinct, non-negative axes into scratch and makes attribute k point to them; none
// means all.
void normal_axes(OpCall& call, uint32_t k, int32_t rank);
// Throws unless input k has this rank.
void expect_rank(const OpCall& call, uint32_t k, int32_t rank);
// Throws MILL_E_SHAPE unless input k has exactly these dims.
void expect_dims(const OpCall& call, uint32_t k, const int64_t* dims, int32_t rank);
inline void expect_like(const OpCall& call, uint32_t k, uint32_t model) {
  expect_dims(call, k, call.shape(model).dims, call.shape(model).rank);
}
void expect_one_element(const OpCall& call, uint32_t k);
// Of functions that are sequences of ops: throws MILL_E_SHAPE unless x broadcasts to these dims,
// which are `whose`.
void expect_broadcast(const mill_tensor& x, int32_t argument, const char* name,
                      const mill_kernel_tensor& to, const char* whose);

// dims of an attribute, checked to be a legal shape.
void set_dims_from_attr(OpCall& call, uint32_t out, uint32_t k);

// Sums a gradient to the dims of input k if it was broadcast, and hands it in.
void set_reduced(GradCall& c, uint32_t k, TensorRef gradient);
inline TensorRef share(mill_tensor* tensor) {
  return TensorRef::share(tensor);
}
// A scalar tensor of this dtype.
TensorRef scalar(Exec& exec, int32_t dtype, double value);
TensorRef reshape(Exec& exec, mill_tensor* x, const int64_t* dims, int32_t rank);
TensorRef reshape_like(Exec& exec, mill_tensor* x, const SavedValue& model);
TensorRef expand_like(Exec& exec, mill_tensor* x, const SavedValue& model);
TensorRef cast(Exec& exec, mill_tensor* x, int32_t dtype);
TensorRef sum_axis(Exec& exec, mill_tensor* x, int64_t axis);  // keeps the axis
// Swaps the last two axes.
TensorRef transpose(Exec& exec, mill_tensor* x);
TensorRef compare(Exec& exec, mill_tensor* a, mill_tensor* b, int32_t relation, int32_t dtype);

// Where an op of this policy may write the gradient by input k at once, or null: autocast may give
// its result another dtype than the gradient's.
mill_tensor* target_of(GradCall& c, uint32_t k, Autocast policy, bool* accumulate);

// Writes op(in...) to the memory where the gradient by input k belongs if that is allowed, else
// hands in the result.
void matmul_gradient(GradCall& c, uint32_t k, mill_tensor* left, mill_tensor* right);

}  // namespace mill::ops
