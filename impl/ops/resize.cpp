// Resizing: shapes, and gradients that are the two ops of the family in turn.
#include <cmath>

#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

constexpr int32_t kMostResized = 3;

void expect_choice(const OpCall& call, uint32_t k, int64_t last) {
  if (call.integer(k) >= 0 && call.integer(k) <= last) return;
  fail(MILL_E_ARG, "%s is %lld, it must be 0 to %lld", call.row.attrs[k].name,
       static_cast<long long>(call.integer(k)), static_cast<long long>(last));
}

// The attributes after the first, and input 0's rank. Returns the number of spatial axes.
uint32_t expect_resizable(const OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  if (x.rank < 3 || x.rank > kMostResized + 2) {
    fail_argument(MILL_E_SHAPE, 0,
                  "%s has rank %d, it must be 3 to 5: batch, channels and 1 to 3 spatial axes",
                  call.row.inputs[0].name, x.rank);
  }
  const auto axes = static_cast<uint32_t>(x.rank - 2);
  const auto n_scales = static_cast<uint32_t>(call.attr[1].n);
  if (n_scales != 0 && n_scales != axes) {
    fail(MILL_E_ARG, "scales has %u values, there %s %u spatial %s", n_scales,
         axes == 1 ? "is" : "are", axes, axes == 1 ? "axis" : "axes");
  }
  for (uint32_t i = 0; i < n_scales; ++i) {
    const double scale = static_cast<const double*>(call.attr[1].p)[i];
    if (!(scale > 0) || std::isinf(scale))
      fail(MILL_E_ARG, "scales[%u] is %g, it must be positive and finite", i, scale);
  }
  expect_choice(call, 2, MILL_RESIZE_CUBIC);
  expect_choice(call, 3, MILL_RESIZE_TF_HALF_PIXEL_FOR_NN);
  expect_choice(call, 4, MILL_RESIZE_CEIL);
  return axes;
}

void expect_elements(const char* name, uint32_t axis, int64_t size) {
  if (size > 0) return;
  fail(MILL_E_SHAPE, "along spatial axis %u %s has size %lld, it must be at least 1", axis, name,
       static_cast<long long>(size));
}

void infer_resize(OpCall& call) {
  const uint32_t axes = expect_resizable(call);
  const mill_kernel_tensor& x = call.shape(0);
  if (call.n_ints(0) != axes) {
    fail(MILL_E_ARG, "sizes has %u values, there %s %u spatial %s", call.n_ints(0),
         axes == 1 ? "is" : "are", axes, axes == 1 ? "axis" : "axes");
  }
  int64_t dims[MILL_MAX_RANK] = {x.dims[0], x.dims[1]};
  for (uint32_t i = 0; i < axes; ++i) {
    expect_elements("x", i, x.dims[2 + i]);
    expect_elements("the result", i, call.ints(0)[i]);
    dims[2 + i] = call.ints(0)[i];
  }
  checked_count(dims, x.rank, call.out[0].dtype);
  call.set_dims(0, dims, x.rank);
  strides_like(call.out[0], x);
}

void infer_resize_backward(OpCall& call) {
  const uint32_t axes = expect_resizable(call);
  const mill_kernel_tensor& g = call.shape(0);
  if (call.n_ints(0) != static_cast<uint32_t>(g.rank)) {
    fail(MILL_E_SHAPE, "dims has %u values, g has rank %d", call.n_ints(0), g.rank);
  }
  set_dims_from_attr(call, 0, 0);
  const int64_t* dims = call.ints(0);
  for (uint32_t i = 0; i < 2; ++i) {
    if (g.dims[i] == dims[i]) continue;
    fail_argument(MILL_E_SHAPE, 0, "g is %s, along axis %u dims has %lld",
                  format_dims(*call.in[0]).text, i, static_cast<long long>(dims[i]));
  }
  for (uint32_t i = 0; i < axes; ++i) {
    expect_elements("g", i, g.dims[2 + i]);
    expect_elements("x", i, dims[2 + i]);
  }
  strides_like(call.out[0], g);
}

void gradient_resize(GradCall& c) {
  const SavedValue& x = c.input(0);
  c.set(0, op::resize_backward(c.exec, c.gradient(), x.dims, static_cast<uint32_t>(x.rank),
                               static_cast<const double*>(c.attr[1].p),
                               static_cast<uint32_t>(c.attr[1].n), c.attr[2].i, c.attr[3].i,
                               c.attr[4].i, c.attr[5].f, c.attr[6].i != 0));
}

void gradient_resize_backward(GradCall& c) {
  const SavedValue& g = c.input(0);
  c.set(0, op::resize(c.exec, c.gradient(), g.dims + 2, static_cast<uint32_t>(g.rank - 2),
                      static_cast<const double*>(c.attr[1].p), static_cast<uint32_t>(c.attr[1].n),
                      c.attr[2].i, c.attr[3].i, c.attr[4].i, c.attr[5].f, c.attr[6].i != 0));
}

}  // namespace

extern const OpRules rules_resize = {.infer = infer_resize, .gradient = gradient_resize};
extern const OpRules rules_resize_backward = {.infer = infer_resize_backward,
                                              .gradient = gradient_resize_backward};

}  // namespace mill::ops
