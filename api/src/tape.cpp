#include "millrace/tape.h"

#include "autograd/backward.h"
#include "autograd/gradcheck.h"
#include "autograd/tape.h"
#include "guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

mill_status mill_tape_create(mill_context* context, mill_tape** out_tape, mill_error* err) {
  return guard("mill_tape_create", err, [&] {
    clear_out(out_tape, 1, "out_tape");
    *out_tape = slab_new<mill_tape>(&need_context(context));
  });
}

void mill_tape_retain(mill_tape* tape) {
  if (valid(tape, HandleKind::tape)) retain(tape);
}

void mill_tape_release(mill_tape* tape) {
  if (valid(tape, HandleKind::tape)) release(tape);
}

mill_status mill_tape_watch(mill_tape* tape, mill_tensor* tensor, mill_error* err) {
  return guard("mill_tape_watch", err, [&] {
    mill_tape& t = need(tape, 0, "tape");
    t.watch(&need_tensor(tensor, 1, "tensor"));
  });
}

mill_status mill_tape_reset(mill_tape* tape, mill_error* err) {
  return guard("mill_tape_reset", err, [&] {
    mill_tape& t = need(tape, 0, "tape");
    const TapeGuard entered(t);
    t.require_no_pass();
    t.reset();
  });
}

mill_status mill_tape_count(mill_tape* tape, uint64_t* out_nodes, mill_error* err) {
  return guard("mill_tape_count", err, [&] {
    need_out(out_nodes, 1, "out_nodes") = 0;
    mill_tape& t = need(tape, 0, "tape");
    const TapeGuard entered(t);
    *out_nodes = t.nodes.size();
  });
}

mill_status mill_tape_backward(mill_tape* tape, mill_exec* exec, mill_tensor* loss,
                               mill_tensor* seed, uint64_t flags, mill_error* err) {
  return guard("mill_tape_backward", err, [&] {
    mill_tape& t = need(tape, 0, "tape");
    mill_exec& e = need(exec, 1, "exec");
    mill_tensor& l = need(loss, 2, "loss");
    mill_tensor* s = maybe(seed, 3, "seed");
    const ExecGuard entered(e);
    check_same_device(e, l, 2, "loss");
    if (s) check_same_device(e, *s, 3, "seed");
    constexpr uint64_t known = MILL_BACKWARD_KEEP;
    if ((flags & ~known) != 0) {
      fail_argument(MILL_E_ARG, 4, "flags is %llu, the known bits are %llu",
                    static_cast<unsigned long long>(flags), static_cast<unsigned long long>(known));
    }
    backward(t, e, l, s, (flags & MILL_BACKWARD_KEEP) != 0);
  });
}

mill_status mill_tape_gradient_of(mill_tape* tape, mill_tensor* tensor, mill_tensor** out_gradient,
                                  mill_error* err) {
  return guard("mill_tape_gradient_of", err, [&] {
    clear_out(out_gradient, 2, "out_gradient");
    mill_tape& t = need(tape, 0, "tape");
    mill_tensor& x = need_tensor(tensor, 1, "tensor");
    const TapeGuard entered(t);
    mill_tensor* found = nullptr;
    if (x.sink) {
      found = x.sink->fresh(x.sink_index) ? x.sink->gradient(x.sink_index) : nullptr;
    } else {
      found = t.gradient_of(&x);
    }
    if (!found) {
      fail_argument(MILL_E_STATE, 1,
                    "the tensor %s has no gradient from the last backward of this tape",
                    format_dims(x).text);
    }
    *out_gradient = TensorRef::share(found).release();
  });
}

mill_status mill_tape_gradient(mill_tape* tape, mill_exec* exec, mill_tensor* y, mill_tensor* seed,
                               mill_tensor* const* inputs, uint32_t n, mill_tensor** out_gradients,
                               mill_error* err) {
  return guard("mill_tape_gradient", err, [&] {
    if (n > 0) need_out(out_gradients, 6, "out_gradients");
    for (uint32_t k = 0; k < n; ++k) out_gradients[k] = nullptr;
    mill_tape& t = need(tape, 0, "tape");
    mill_exec& e = need(exec, 1, "exec");
    mill_tensor& from = need(y, 2, "y");
    mill_tensor* s = maybe(seed, 3, "seed");
    const ExecGuard entered(e);
    check_same_device(e, from, 2, "y");
    if (s) check_same_device(e, *s, 3, "seed");
    if (n > 0) need_out(inputs, 4, "inputs");
    for (uint32_t k = 0; k < n; ++k) need(inputs[k], 4, "inputs");
    std::vector<TensorRef> found = gradient(t, e, from, s, inputs, n);
    e.reserve_notes(n);
    for (uint32_t k = 0; k < n; ++k) {
      if (found[k]) e.note(found[k].get());
      out_gradients[k] = found[k].release();
    }
  });
}

mill_status mill_tape_on_gradient(mill_tape* tape, mill_gradient_hook hook, void* user,
                                  void (*destroy)(void* user), mill_error* err) {
  bool accepted = false;
  const mill_status status = guard("mill_tape_on_gradient", err, [&] {
    mill_tape& t = need(tape, 0, "tape");
    const TapeGuard entered(t);
    t.require_no_pass();
    accepted = true;
    t.set_hook(hook, user, destroy);
  });
  if (!accepted && destroy) destroy(user);
  return status;
}

mill_status mill_gradcheck(mill_exec* exec, int32_t op, mill_tensor* const* inputs,
                           uint32_t n_inputs, const mill_attr* attrs, uint32_t n_attrs,
                           mill_bool second, double step, double* out_worst, mill_error* err) {
  return guard("mill_gradcheck", err, [&] {
    if (out_worst) *out_worst = 0;
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    e.context->row(op);
    if (n_inputs > MILL_MAX_OP_INPUTS) {
      fail_argument(MILL_E_ARG, 3, "n_inputs is %u, the limit is %d", n_inputs, MILL_MAX_OP_INPUTS);
    }
    if (n_inputs > 0) need_out(inputs, 2, "inputs");
    for (uint32_t k = 0; k < n_inputs; ++k) maybe(inputs[k], 2, "inputs");
    if (step == 0) step = 1e-5;
    if (!(step > 0 && step < 1))
      fail_argument(MILL_E_ARG, 7, "step is %g, it must be above 0 and below 1", step);
    const double worst = gradcheck(e, op, inputs, n_inputs, attrs, n_attrs, second != 0, step);
    if (out_worst) *out_worst = worst;
  });
}
