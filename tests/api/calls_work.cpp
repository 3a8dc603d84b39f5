// Generic op calls, tape, group, optimizer, loader and files: one call of each function.
#include "api/calls.h"

namespace mill_test {

namespace {

const char* const* strings(Fixture& f, std::initializer_list<const char*> values) {
  return f.array<const char*>(values);
}

mill_tensor* const* one(Fixture& f, mill_tensor* tensor) {
  return f.array<mill_tensor*>({tensor});
}
mill_tensor* const* two(Fixture& f, mill_tensor* a, mill_tensor* b) {
  return f.array<mill_tensor*>({a, b});
}

// Weights of one layer of recurrent units on 3 inputs; the last bias is left out.
mill_tensor* const* layer(Fixture& f, int64_t gates, int64_t units) {
  return f.array<mill_tensor*>({f.tensor({gates * units, 3}), f.tensor({gates * units, units}),
                                f.tensor({gates * units}), nullptr});
}

const mill_attr* axis0(Fixture& f) {
  mill_attr attr{};
  attr.id = 0;
  attr.kind = MILL_ATTR_INT;
  attr.i = 0;
  return f.array<mill_attr>({attr});
}

mill_status copy_forward(void*, mill_exec* exec, mill_tensor* const* inputs, uint32_t,
                         mill_tensor** outputs, uint32_t, mill_error* err) {
  return mill_copy(exec, inputs[0], &outputs[0], err);
}

const mill_custom_op* custom(Fixture& f) {
  auto* op = f.structure<mill_custom_op>(MILL_STRUCT_CUSTOM_OP);
  op->name = "table.copy";
  op->n_inputs = 1;
  op->n_outputs = 1;
  op->forward = copy_forward;
  return op;
}

mill_group* open_group(Fixture& f) {
  mill_group* group = f.made<mill_group>();
  const int64_t dims[] = {2, 3};
  mill_group_add(group, "first", dims, 2, nullptr, nullptr);
  return group;
}

// The group of a tape on which backward has run.
mill_group* group_with_gradient(Fixture& f) {
  f.ready_optimizer();
  return f.built_group();
}

// A watched tensor with a gradient, beside its tape: the pair is made once.
struct Watched {
  mill_tape* tape;
  mill_tensor* x;
  mill_tensor* y;
};
Watched watched(Fixture& f) {
  Watched w{f.made<mill_tape>(), f.tensor(), nullptr};
  mill_tape_watch(w.tape, w.x, nullptr);
  mill_exec_set_tape(f.exec(), w.tape, nullptr);
  mill_tensor** squares = f.slot<mill_tensor>();
  mill_mul(f.exec(), w.x, w.x, squares, nullptr);
  mill_tensor** sum = f.slot<mill_tensor>();
  mill_sum(f.exec(), *squares, nullptr, 0, 0, sum, nullptr);
  w.y = *sum;
  *sum = nullptr;  // the fixture clears its slots between calls
  f.own(w.y);
  f.own(*squares);
  *squares = nullptr;
  mill_exec_set_tape(f.exec(), nullptr, nullptr);
  return w;
}

std::unique_ptr<Call> bind_gradient_of(Fixture& f) {
  const Watched w = watched(f);
  mill_tape_backward(w.tape, f.exec(), w.y, nullptr, MILL_BACKWARD_KEEP, nullptr);
  return bind_call(mill_tape_gradient_of, w.tape, w.x, f.slot<mill_tensor>(), f.err());
}
std::unique_ptr<Call> bind_gradient(Fixture& f) {
  const Watched w = watched(f);
  return bind_call(mill_tape_gradient, w.tape, f.exec(), w.y, nullptr, one(f, w.x), 1,
                   f.slot<mill_tensor>(), f.err());
}
std::unique_ptr<Call> bind_backward(Fixture& f) {
  mill_tape* tape = f.recorded_tape();
  return bind_call(mill_tape_backward, tape, f.exec(), f.loss(), nullptr, MILL_BACKWARD_KEEP,
                   f.err());
}

mill_status keep_gradient(void*, mill_exec*, mill_group*, uint32_t, mill_error*) {
  return MILL_OK;
}

mill_status keep_as_it_is(void*, mill_exec*, mill_tensor*, void**, mill_error*) {
  return MILL_OK;
}
mill_status never_packed(void*, mill_exec*, void*, mill_tensor**, mill_error*) {
  return MILL_E_STATE;
}

mill_status square_segment(void*, mill_exec* exec, mill_tensor* const* in, uint32_t,
                           mill_tensor** out, uint32_t, mill_error* err) {
  return mill_mul(exec, in[0], in[0], out, err);
}

mill_status keep_rows(void*, const mill_augment_args*, mill_error*) {
  return MILL_OK;
}

mill_loader* started_loader(Fixture& f) {
  mill_loader* loader = f.made<mill_loader>();
  mill_tensor* batch = nullptr;
  mill_loader_next(loader, f.exec(), &batch, 1, nullptr);
  mill_tensor_release(batch);
  return loader;
}

mill_optimizer* clipping(Fixture& f) {
  mill_optimizer* optimizer = f.ready_optimizer();
  mill_optimizer_set_clip_norm(optimizer, 1.0, nullptr);
  return optimizer;
}

mill_optimizer* sgd(Fixture& f) {
  mill_optimizer* out = nullptr;
  mill_optimizer_create_sgd(f.exec(), f.built_group(), 0.1, 0.9, 0.0, 0, &out, nullptr);
  return f.own(out);
}

mill_optimizer* averaging(Fixture& f) {
  mill_optimizer* optimizer = f.made<mill_optimizer>();
  mill_optimizer_set_ema(optimizer, f.exec(), 0.9, 0, nullptr);
  return optimizer;
}

mill_optimizer* scaling(Fixture& f) {
  mill_optimizer* optimizer = f.made<mill_optimizer>();
  mill_optimizer_set_loss_scale(optimizer, f.exec(), 65536, 2, 0.5, 2000, nullptr);
  return optimizer;
}

void add_op(Entries& to) {
  MILL_ENTRY(mill_op_invoke, f.exec(), MILL_OP_CONCAT, two(f, f.tensor(), f.tensor()), 2, axis0(f),
             1, f.slot<mill_tensor>(), 1, f.err())
      .in_out();
  MILL_ENTRY(mill_einsum, f.exec(), "ij,kj->ik", MILL_NTS, two(f, f.tensor(), f.tensor()), 2,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_nll_loss, f.exec(), f.tensor({2, 3}), f.ids({2}), f.tensor({3}), 0, -100,
             f.slot<mill_tensor>(), f.err())
      .in_out()
      .null({3});
  MILL_ENTRY(mill_mse_loss, f.exec(), f.tensor({2, 3}), f.tensor({2, 3}), 0, f.slot<mill_tensor>(),
             f.err())
      .in_out();
  MILL_ENTRY(mill_l1_loss, f.exec(), f.tensor({2, 3}), f.tensor({2, 3}), 1, f.slot<mill_tensor>(),
             f.err())
      .in_out();
  MILL_ENTRY(mill_huber_loss, f.exec(), f.tensor({2, 3}), f.tensor({2, 3}), 1, 0,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_smooth_l1_loss, f.exec(), f.tensor({2, 3}), f.tensor({2, 3}), 0.5, 2,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_bce_with_logits_loss, f.exec(), f.tensor({2, 3}), f.tensor({2, 3}), f.tensor({3}),
             0, f.slot<mill_tensor>(), f.err())
      .in_out()
      .null({3});
  MILL_ENTRY(mill_kl_div_loss, f.exec(), f.tensor({2, 3}), f.tensor({2, 3}), 0, 0,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_adaptive_avg_pool, f.exec(), f.tensor({1, 2, 5}), f.array<int64_t>({3}), 1,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_transpose, f.exec(), f.tensor(), 0, 1, f.slot<mill_tensor>(), f.err()).in_out();
  MILL_ENTRY(mill_squeeze, f.exec(), f.tensor({2, 1, 3}), f.array<int64_t>({1}), 1,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_unsqueeze, f.exec(), f.tensor(), f.array<int64_t>({1}), 1, f.slot<mill_tensor>(),
             f.err())
      .in_out();
  MILL_ENTRY(mill_flatten, f.exec(), f.tensor(), 0, 1, f.slot<mill_tensor>(), f.err()).in_out();
  MILL_ENTRY(mill_split, f.exec(), f.tensor({2, 3}), f.array<int64_t>({3}), 1, 1,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_stack, f.exec(), two(f, f.tensor(), f.tensor()), 2, 0, f.slot<mill_tensor>(),
             f.err())
      .in_out();
  MILL_ENTRY(mill_masked_fill, f.exec(), f.tensor(), f.tensor({2, 3}, MILL_BOOL, 1), 1.5,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_lerp, f.exec(), f.tensor(), f.tensor(), f.tensor(), f.slot<mill_tensor>(),
             f.err())
      .in_out();
  MILL_ENTRY(mill_addcmul, f.exec(), f.tensor(), f.tensor(), f.tensor(), 0.5, f.slot<mill_tensor>(),
             f.err())
      .in_out();
  MILL_ENTRY(mill_var, f.exec(), f.tensor(), f.array<int64_t>({0}), 1, 1, 0, f.slot<mill_tensor>(),
             f.err())
      .in_out();
  MILL_ENTRY(mill_vector_norm, f.exec(), f.tensor(), 2, f.array<int64_t>({0}), 1, 0,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_logsumexp, f.exec(), f.tensor(), f.array<int64_t>({0}), 1, 0,
             f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_embedding_bag, f.exec(), f.tensor({2, 3}), f.ids({2}), f.ids({1}, 0),
             f.tensor({2}), MILL_BAG_SUM, f.slot<mill_tensor>(), f.err())
      .in_out()
      .null({4});
  MILL_ENTRY(mill_drop_path, f.exec(), f.tensor(), 0, f.slot<mill_tensor>(), f.err()).in_out();
  MILL_ENTRY(mill_alibi_bias, f.exec(), 2, 3, 3, MILL_F32, f.slot<mill_tensor>(), f.err()).in_out();
  MILL_ENTRY(mill_scaled_matmul, f.exec(), f.tensor({2, 3}), f.tensor({3, 2}), f.tensor({}),
             f.tensor({}), MILL_F32, f.slot<mill_tensor>(), f.err())
      .in_out()
      .null({3, 4});
  MILL_ENTRY(mill_linear_cross_entropy, f.exec(), f.tensor({2, 3}), f.tensor({4, 3}), f.tensor({4}),
             f.ids({2}), 0, 0, -100, 1, f.slot<mill_tensor>(), f.err())
      .in_out()
      .null({3});
  MILL_ENTRY(mill_lstm, f.exec(), f.tensor({2, 2, 3}), layer(f, 4, 2), 4, f.tensor({1, 2, 2}),
             f.tensor({1, 2, 2}), f.ids({2}), 0, 0, 0, f.slot<mill_tensor>(), f.slot<mill_tensor>(),
             f.slot<mill_tensor>(), f.err())
      .in_out()
      .null({4, 5, 6, 11, 12});
  MILL_ENTRY(mill_gru, f.exec(), f.tensor({2, 2, 3}), layer(f, 3, 2), 4, f.tensor({1, 2, 2}),
             f.ids({2}), 0, 1, 0, f.slot<mill_tensor>(), f.slot<mill_tensor>(), f.err())
      .in_out()
      .null({4, 5, 10});
  MILL_ENTRY(mill_rnn, f.exec(), f.tensor({2, 2, 3}), layer(f, 1, 2), 4, f.tensor({1, 2, 2}),
             f.ids({2}), 1, 0, 0, 0, f.slot<mill_tensor>(), f.slot<mill_tensor>(), f.err())
      .in_out()
      .null({4, 5, 11});
  MILL_ENTRY(mill_op_prepare, f.exec(), MILL_OP_CONCAT, two(f, f.tensor(), f.tensor()), 2, axis0(f),
             1, f.slot<mill_call>(), f.err());
  MILL_ENTRY(mill_call_run, f.made<mill_call>(), f.exec(), two(f, f.tensor(), f.tensor()), 2,
             f.slot<mill_tensor>(), 1, f.err())
      .in_out();
  MILL_ENTRY(mill_op_find, f.context(), "matmul", f.zeros<int32_t>(), f.err());
  MILL_ENTRY(mill_op_list, f.context(), f.zeros<int32_t>(256), 256, f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_op_query, f.context(), MILL_OP_MATMUL,
             f.structure<mill_op_schema>(MILL_STRUCT_OP_SCHEMA), f.err());
  MILL_ENTRY(mill_op_query_attr, f.context(), MILL_OP_SOFTMAX, 0,
             f.structure<mill_attr_schema>(MILL_STRUCT_ATTR_SCHEMA), f.err());
  MILL_ENTRY(mill_op_query_input, f.context(), MILL_OP_SOFTMAX, 0,
             f.structure<mill_attr_schema>(MILL_STRUCT_ATTR_SCHEMA), f.err());
  MILL_ENTRY(mill_op_query_output, f.context(), MILL_OP_SOFTMAX, 0,
             f.structure<mill_attr_schema>(MILL_STRUCT_ATTR_SCHEMA), f.err());
  MILL_ENTRY(mill_op_supports, f.context(), 0, MILL_OP_MATMUL, MILL_F32, f.err());
  MILL_ENTRY(mill_op_register, f.context(), custom(f), f.zeros<int32_t>(), f.err());
  MILL_ENTRY(mill_gradcheck, f.exec(), MILL_OP_MUL,
             two(f, f.tensor({2}, MILL_F64), f.tensor({2}, MILL_F64)), 2, nullptr, 0, 0, 0.0,
             f.zeros<double>(), f.err())
      .null({4, 8});
}

void add_tape(Entries& to) {
  MILL_ENTRY(mill_tape_create, f.context(), f.slot<mill_tape>(), f.err());
  MILL_ENTRY(mill_tape_watch, f.made<mill_tape>(), f.tensor(), f.err());
  MILL_ENTRY(mill_tape_reset, f.recorded_tape(), f.err());
  MILL_ENTRY(mill_tape_count, f.recorded_tape(), f.zeros<uint64_t>(), f.err());
  to.emplace_back(Entry{"mill_tape_backward", bind_backward, false, false, MILL_OK, {}}).null({3});
  to.emplace_back(Entry{"mill_tape_gradient_of", bind_gradient_of, false, false, MILL_OK, {}});
  to.emplace_back(Entry{"mill_tape_gradient", bind_gradient, false, false, MILL_OK, {}}).null({3});
  MILL_ENTRY(mill_tape_on_gradient, f.recorded_tape(), keep_gradient, nullptr, nullptr, f.err())
      .null({1, 2, 3});
  MILL_ENTRY(mill_tape_on_saved, f.recorded_tape(), keep_as_it_is, never_packed, nullptr, nullptr,
             nullptr, f.err())
      .null({1, 3, 4, 5});
  MILL_ENTRY(mill_tape_checkpoint, f.exec(), square_segment, nullptr, nullptr, one(f, f.tensor()),
             1, f.slot<mill_tensor>(), 1, f.err())
      .null({2, 3});
  MILL_ENTRY(mill_tape_set_budget, f.made<mill_tape>(), 1000, f.err());
  MILL_ENTRY(mill_tape_plan, f.recorded_tape(), f.zeros<mill_tape_plan_row>(8), 8,
             f.zeros<uint32_t>(), f.structure<mill_tape_plan_summary>(MILL_STRUCT_TAPE_PLAN),
             f.err())
      .null({4});
}

void add_group(Entries& to) {
  MILL_ENTRY(mill_group_create, f.context(), MILL_F32, f.slot<mill_group>(), f.err());
  MILL_ENTRY(mill_group_add, f.made<mill_group>(), "weight", f.array<int64_t>({2, 3}), 2,
             f.zeros<uint32_t>(), f.err())
      .null({4});
  MILL_ENTRY(mill_group_build, open_group(f), f.exec(), f.err());
  MILL_ENTRY(mill_group_count, f.built_group(), f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_group_find, f.built_group(), "weight", f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_group_name, f.built_group(), 0, f.zeros<const char*>(), f.err());
  MILL_ENTRY(mill_group_param, f.built_group(), 0, f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_group_gradient, group_with_gradient(f), 0, f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_group_add_buffer, f.built_group(), "statistics", f.tensor(), f.err());
  MILL_ENTRY(mill_group_clear_gradients, group_with_gradient(f), f.err());
  MILL_ENTRY(mill_group_init, f.built_group(), f.random_exec(), 0, MILL_INIT_KAIMING, 1.0, f.err());
  MILL_ENTRY(mill_optimizer_create_sgd, f.exec(), f.built_group(), 0.1, 0.9, 0.0, 1,
             f.slot<mill_optimizer>(), f.err());
  MILL_ENTRY(mill_optimizer_create_adamw, f.exec(), f.built_group(), 0.1, 0.9, 0.999, 1e-8, 0.01,
             f.slot<mill_optimizer>(), f.err());
  MILL_ENTRY(mill_optimizer_create_adam, f.exec(), f.built_group(), 0.1, 0.9, 0.999, 1e-8, 0.01,
             MILL_ADAM_AMSGRAD, f.slot<mill_optimizer>(), f.err());
  MILL_ENTRY(mill_optimizer_create_rmsprop, f.exec(), f.built_group(), 0.1, 0.99, 1e-8, 0.9, 0.01,
             1, f.slot<mill_optimizer>(), f.err());
  MILL_ENTRY(mill_optimizer_create_adagrad, f.exec(), f.built_group(), 0.1, 0.0, 0.1, 1e-10, 0.01,
             f.slot<mill_optimizer>(), f.err());
  MILL_ENTRY(mill_optimizer_create_lion, f.exec(), f.built_group(), 0.1, 0.9, 0.99, 0.01,
             f.slot<mill_optimizer>(), f.err());
  MILL_ENTRY(mill_optimizer_step, clipping(f), f.exec(), f.err());
  MILL_ENTRY(mill_optimizer_set_rate, f.made<mill_optimizer>(), f.exec(), 0.2, f.err());
  MILL_ENTRY(mill_optimizer_set_schedule, f.made<mill_optimizer>(), MILL_SCHEDULE_COSINE, 2, 10,
             0.1, f.err());
  MILL_ENTRY(mill_optimizer_set_schedule_shape, f.made<mill_optimizer>(), MILL_SCHEDULE_STEPS, 2, 0,
             0.0, 0.1, 5, 0.5, f.err());
  MILL_ENTRY(mill_optimizer_set_dampening, sgd(f), 0.1, f.err());
  MILL_ENTRY(mill_optimizer_set_param_options, f.made<mill_optimizer>(), f.exec(), 0, 0.5, 0.0,
             f.err());
  MILL_ENTRY(mill_optimizer_set_gradient_scale, f.made<mill_optimizer>(), 0.5, f.err());
  MILL_ENTRY(mill_optimizer_set_clip_value, f.made<mill_optimizer>(), 1.0, f.err());
  MILL_ENTRY(mill_optimizer_set_ema, f.made<mill_optimizer>(), f.exec(), 0.9, 1, f.err());
  MILL_ENTRY(mill_optimizer_ema, averaging(f), 0, f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_optimizer_swap_ema, averaging(f), f.exec(), f.err());
  MILL_ENTRY(mill_optimizer_set_clip_norm, f.made<mill_optimizer>(), 1.0, f.err());
  MILL_ENTRY(mill_optimizer_set_loss_scale, f.made<mill_optimizer>(), f.exec(), 65536.0, 2.0, 0.5,
             2000, f.err());
  MILL_ENTRY(mill_optimizer_loss_scale, scaling(f), f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_optimizer_rate, f.made<mill_optimizer>(), f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_optimizer_norm, clipping(f), f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_optimizer_steps, f.made<mill_optimizer>(), f.zeros<int64_t>(), f.err());
}

void add_loader(Entries& to) {
  MILL_ENTRY(mill_loader_create, f.context(), two(f, f.tensor({4, 2}), f.ids({4})), 2,
             f.structure<mill_loader_opts>(MILL_STRUCT_LOADER_OPTS), f.slot<mill_loader>(), f.err())
      .null({3});
  MILL_ENTRY(mill_loader_set_transform, f.made<mill_loader>(), 0, MILL_F64, 2.0, 1.0, f.err());
  MILL_ENTRY(mill_loader_set_prefetch, f.made<mill_loader>(), 3, 2, f.err());
  MILL_ENTRY(mill_loader_set_augment, f.made<mill_loader>(), keep_rows, nullptr, nullptr, f.err())
      .null({1, 2, 3});
  MILL_ENTRY(mill_loader_next, f.made<mill_loader>(), f.exec(), f.slot<mill_tensor>(), 1, f.err());
  MILL_ENTRY(mill_loader_indices, started_loader(f), f.zeros<int64_t>(8), 8, f.zeros<uint64_t>(),
             f.err());
  MILL_ENTRY(mill_loader_batches, f.made<mill_loader>(), f.zeros<int64_t>(), f.err());
  MILL_ENTRY(mill_loader_rewind, started_loader(f), f.err());
  MILL_ENTRY(mill_loader_get_position, f.made<mill_loader>(), f.zeros<uint64_t>(),
             f.zeros<uint64_t>(), f.zeros<int64_t>(), f.err())
      .null({1, 2, 3});
  MILL_ENTRY(mill_loader_set_position, started_loader(f), 3, 1, 1, f.err());
}

void add_file(Entries& to) {
  MILL_ENTRY(mill_idx_read, f.context(), f.idx_path(), MILL_NTS, f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_idx_write, f.exec(), f.path("out.idx"), MILL_NTS, f.tensor(), f.err());
  MILL_ENTRY(mill_file_open, f.context(), f.safetensors_path(), MILL_NTS, f.slot<mill_file>(),
             f.err());
  MILL_ENTRY(mill_file_count, f.made<mill_file>(), f.zeros<uint64_t>(), f.err());
  MILL_ENTRY(mill_file_name, f.made<mill_file>(), 0, f.zeros<const char*>(), f.zeros<uint64_t>(),
             f.err())
      .null({3});
  MILL_ENTRY(mill_file_find, f.made<mill_file>(), "w", MILL_NTS, f.zeros<uint64_t>(), f.err());
  MILL_ENTRY(mill_file_info, f.made<mill_file>(), 0, f.zeros<mill_dtype>(), f.zeros<int64_t>(8), 8,
             f.zeros<uint32_t>(), f.zeros<uint64_t>(), f.err())
      .null({2, 3, 5, 6});
  MILL_ENTRY(mill_file_read, f.made<mill_file>(), f.exec(), 0, f.slot<mill_tensor>(), f.err())
      .in_out();
  MILL_ENTRY(mill_file_metadata_count, f.made<mill_file>(), f.zeros<uint64_t>(), f.err());
  MILL_ENTRY(mill_file_metadata_at, f.made<mill_file>(), 0, f.zeros<const char*>(),
             f.zeros<const char*>(), f.err())
      .null({2, 3});
  MILL_ENTRY(mill_file_metadata, f.made<mill_file>(), "k", MILL_NTS, f.zeros<const char*>(),
             f.err());
  MILL_ENTRY(mill_file_save, f.exec(), f.path("out.safetensors"), MILL_NTS, strings(f, {"a", "b"}),
             two(f, f.tensor(), f.ids({2})), 2, strings(f, {"k"}), strings(f, {"v"}), 1, f.err());
  MILL_ENTRY(mill_checkpoint_save, f.exec(), f.path("out.checkpoint"), MILL_NTS, f.built_group(),
             f.ready_optimizer(), f.made<mill_generator>(), f.made<mill_loader>(), f.err())
      .null({4, 5, 6});
  MILL_ENTRY(mill_checkpoint_load, f.exec(), f.checkpoint_path(f.built_group()), MILL_NTS,
             f.built_group(), nullptr, nullptr, nullptr, f.err())
      .null({4, 5, 6});
}

}  // namespace

void add_work_entries(Entries& to) {
  add_op(to);
  add_tape(to);
  add_group(to);
  add_loader(to);
  add_file(to);
}

}  // namespace mill_test
