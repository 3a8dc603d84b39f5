// Rows of a table by index, and the reverse.
#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_embedding(OpCall& call) {
  expect_rank(call, 0, 2);
  const mill_kernel_tensor& ids = call.shape(1);
  if (ids.rank + 1 > MILL_MAX_RANK) {
    fail_argument(MILL_E_SHAPE, 1, "ids is of rank %d, the result's rank %d passes the limit %d",
                  ids.rank, ids.rank + 1, MILL_MAX_RANK);
  }
  call.set_like(0, 1);
  call.out[0].dims[call.out[0].rank++] = call.shape(0).dims[1];
}

void gradient_embedding(GradCall& c) {
  c.set(0, op::embedding_backward(c.exec, c.gradient(), c.in(1), c.input(0).dims[0]));
}

void infer_embedding_backward(OpCall& call) {
  const mill_kernel_tensor& g = call.shape(0);
  const mill_kernel_tensor& ids = call.shape(1);
  bool fits = g.rank == ids.rank + 1;
  for (int32_t i = 0; fits && i < ids.rank; ++i) fits = g.dims[i] == ids.dims[i];
  if (!fits) {
    fail_argument(MILL_E_SHAPE, 0, "g is %s, it must have ids' dims %s and one more axis",
                  format_dims(*call.in[0]).text, format_dims(*call.in[1]).text);
  }
  const int64_t dims[2] = {call.integer(0), g.dims[g.rank - 1]};
  checked_count(dims, 2, call.out[0].dtype);
  call.set_dims(0, dims, 2);
}

void gradient_embedding_backward(GradCall& c) {
  c.set(0, op::embedding(c.exec, c.gradient(), c.in(1)));
}

}  // namespace

extern const OpRules rules_embedding = {
    .infer = infer_embedding, .gradient = gradient_embedding, .saved_inputs = 2};
extern const OpRules rules_embedding_backward = {
    .infer = infer_embedding_backward, .gradient = gradient_embedding_backward, .saved_inputs = 2};

}  // namespace mill::ops
