// The ops of the table: one call of each flat function.
#include "api/calls.h"

namespace mill_test {

namespace {

mill_tensor** out(Fixture& f) {
  return f.slot<mill_tensor>();
}
const int64_t* dims23(Fixture& f) {
  return f.array<int64_t>({2, 3});
}
mill_tensor* key(Fixture& f) {
  return f.tensor({2}, MILL_I64, 7);
}
mill_tensor* condition(Fixture& f) {
  return f.tensor({2, 3}, MILL_BOOL, 1);
}
mill_tensor* const* two(Fixture& f) {
  return f.array<mill_tensor*>({f.tensor(), f.tensor()});
}

}  // namespace

void add_op_entries(Entries& to) {
  const size_t first = to.size();
  MILL_ENTRY(mill_fill, f.exec(), dims23(f), 2, MILL_F32, 1.5, out(f), f.err());
  MILL_ENTRY(mill_arange, f.exec(), 5, 0.0, 1.0, MILL_F32, out(f), f.err());
  MILL_ENTRY(mill_cast, f.exec(), f.tensor(), MILL_F64, out(f), f.err());
  MILL_ENTRY(mill_copy, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_contiguous, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_uniform, f.exec(), key(f), dims23(f), 2, MILL_F32, 0.0, 1.0, out(f), f.err())
      .null({1});
  MILL_ENTRY(mill_normal, f.exec(), key(f), dims23(f), 2, MILL_F32, 0.0, 1.0, out(f), f.err())
      .null({1});
  MILL_ENTRY(mill_dropout, f.random_exec(), f.tensor(), nullptr, 0.5, out(f), f.err()).null({2});
  MILL_ENTRY(mill_rng_next, f.exec(), key(f), out(f), out(f), f.err());
  MILL_ENTRY(mill_reshape, f.exec(), f.tensor(), f.array<int64_t>({3, -1}), 2, out(f), f.err());
  MILL_ENTRY(mill_permute, f.exec(), f.tensor(), f.array<int64_t>({1, 0}), 2, out(f), f.err());
  MILL_ENTRY(mill_slice, f.exec(), f.tensor(), 1, 0, 2, 1, out(f), f.err());
  MILL_ENTRY(mill_expand, f.exec(), f.tensor({1, 3}), dims23(f), 2, out(f), f.err());
  MILL_ENTRY(mill_concat, f.exec(), two(f), 2, 0, out(f), f.err());
  MILL_ENTRY(mill_slice_backward, f.exec(), f.tensor({2, 2}), dims23(f), 2, 1, 0, 1, out(f),
             f.err());
  MILL_ENTRY(mill_sum_to, f.exec(), f.tensor(), f.array<int64_t>({3}), 1, out(f), f.err());
  MILL_ENTRY(mill_neg, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_exp, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_log, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_sqrt, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_rsqrt, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_tanh, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_sigmoid, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_softplus, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_relu, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_gelu, f.exec(), f.tensor(), 0, out(f), f.err());
  MILL_ENTRY(mill_abs, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_sign, f.exec(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_affine, f.exec(), f.tensor(), 2.0, 1.0, out(f), f.err());
  MILL_ENTRY(mill_tanh_backward, f.exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_sigmoid_backward, f.exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_relu_backward, f.exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_gelu_backward, f.exec(), f.tensor(), f.tensor(), 1, out(f), f.err());
  // Two dtypes: the promotion's casts are part of the path.
  MILL_ENTRY(mill_add, f.exec(), f.tensor(), f.tensor({3}, MILL_F64), out(f), f.err());
  MILL_ENTRY(mill_sub, f.exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_mul, f.recording_exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_div, f.exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_pow, f.exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_maximum, f.exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_minimum, f.exec(), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_compare, f.exec(), f.tensor(), f.tensor(), MILL_COMPARE_LE, out(f), f.err());
  MILL_ENTRY(mill_where, f.exec(), condition(f), f.tensor(), f.tensor(), out(f), f.err());
  MILL_ENTRY(mill_sum, f.exec(), f.tensor(), f.array<int64_t>({0}), 1, 0, out(f), f.err());
  MILL_ENTRY(mill_mean, f.exec(), f.tensor(), f.array<int64_t>({1}), 1, 1, out(f), f.err());
  MILL_ENTRY(mill_max, f.exec(), f.tensor(), f.array<int64_t>({-1}), 1, 0, out(f), f.err());
  MILL_ENTRY(mill_argmax, f.exec(), f.tensor(), -1, 0, out(f), f.err());
  MILL_ENTRY(mill_matmul, f.exec(), f.tensor({2, 3}), f.tensor({3, 2}), out(f), f.err());
  MILL_ENTRY(mill_linear, f.exec(), f.tensor({2, 3}), f.tensor({4, 3}), f.tensor({4}), out(f),
             f.err())
      .null({3});
  MILL_ENTRY(mill_softmax, f.exec(), f.tensor(), -1, out(f), f.err());
  MILL_ENTRY(mill_log_softmax, f.exec(), f.tensor(), -1, out(f), f.err());
  MILL_ENTRY(mill_softmax_backward, f.exec(), f.tensor(), f.tensor(), -1, out(f), f.err());
  MILL_ENTRY(mill_log_softmax_backward, f.exec(), f.tensor(), f.tensor(), -1, out(f), f.err());
  MILL_ENTRY(mill_cross_entropy, f.exec(), f.tensor(), f.ids({2}), MILL_REDUCE_MEAN, 0.0, -100,
             out(f), out(f), f.err());
  MILL_ENTRY(mill_cross_entropy_backward, f.exec(), f.tensor({}), f.tensor(), f.ids({2}),
             f.tensor({2}), MILL_REDUCE_MEAN, 0.0, -100, out(f), f.err());
  MILL_ENTRY(mill_layer_norm, f.exec(), f.tensor(), f.tensor({3}), f.tensor({3}), 1, 1e-5, out(f),
             out(f), out(f), f.err())
      .null({2, 3});
  MILL_ENTRY(mill_layer_norm_backward, f.exec(), f.tensor(), f.tensor(), f.tensor({3}),
             f.tensor({2}), f.tensor({2}), 1, out(f), out(f), out(f), f.err())
      .null({3});
  MILL_ENTRY(mill_embedding, f.exec(), f.tensor({4, 3}), f.ids({2}), out(f), f.err());
  MILL_ENTRY(mill_embedding_backward, f.exec(), f.tensor({2, 3}), f.ids({2}), 4, out(f), f.err());
  MILL_ENTRY(mill_sgd_step, f.exec(), f.tensor(), f.tensor(), f.tensor(), f.stat(), f.stat(), 0.9,
             0.0, 0, out(f), out(f), f.err())
      .null({3, 5});
  MILL_ENTRY(mill_adamw_step, f.exec(), f.tensor(), f.tensor(), f.tensor(), f.tensor(), f.stat(),
             f.ids({1}), f.stat(), 0.9, 0.999, 1e-8, 0.01, out(f), out(f), out(f), f.err())
      .null({7});
  MILL_ENTRY(mill_squared_norm, f.exec(), two(f), 2, out(f), f.err());
  MILL_ENTRY(mill_clip_factor, f.exec(), f.stat(), 1.0, out(f), out(f), f.err());
  MILL_ENTRY(mill_schedule, f.exec(), f.ids({1}), f.stat(), MILL_SCHEDULE_COSINE, 2, 10, 0.1,
             out(f), f.err());
  MILL_ENTRY(mill_increment, f.exec(), f.ids({1}), out(f), f.err());
  for (size_t k = first; k < to.size(); ++k) to[k].op = true;
}

}  // namespace mill_test
