// Running ops that users registered.
#include <algorithm>

#include "dispatch/exec.h"
#include "dispatch/launch.h"
#include "dispatch/user_error.h"

namespace mill {

namespace {

// What a callback stored and is no tensor becomes NULL, so that nobody releases it. The first such
// place, or -1.
int64_t drop_invalid(mill_tensor** stored, uint32_t n) {
  int64_t first = -1;
  for (uint32_t k = n; k-- > 0;) {
    if (!stored[k] || valid(stored[k], HandleKind::tensor)) continue;
    stored[k] = nullptr;
    first = k;
  }
  return first;
}

// Callbacks may run custom ops; one that runs itself would run out of stack.
constexpr uint32_t kDeepest = 64;

void check_outputs(const OpCall& call, mill_tensor** out) {
  for (uint32_t k = 0; k < call.n_out; ++k) {
    if (!out[k]) {
      fail(MILL_E_STATE, "forward left output %u without a tensor, it has %u outputs", k,
           call.n_out);
    }
    if (&out[k]->device() != &call.exec.device) {
      fail(MILL_E_DEVICE, "forward made output %u on another device or context than the exec's", k);
    }
  }
}

}  // namespace

void run_custom(OpCall& call, mill_tensor* const* in, uint32_t n_in, uint32_t n_attrs,
                mill_tensor** out, uint32_t n_out) {
  const OpRow& row = call.row;
  if (n_in != row.n_inputs || n_out != row.n_outputs || n_attrs != 0) {
    fail(MILL_E_ARG, "%u inputs, %u outputs and %u attributes given, %s takes %u, %u and 0", n_in,
         n_out, n_attrs, row.name, row.n_inputs, row.n_outputs);
  }
  call.n_in = n_in;
  call.n_out = n_out;
  for (uint32_t k = 0; k < n_in; ++k) {
    if (!in[k])
      fail_argument(MILL_E_ARG, static_cast<int32_t>(k), "input %u is NULL, it is required", k);
    call.in[k] = in[k];
  }
  for (uint32_t k = 0; k < n_out; ++k) {
    if (out[k]) fail(MILL_E_ARG, "output %u is given, custom ops allocate their outputs", k);
  }
  if (call.exec.depth() > kDeepest)
    fail(MILL_E_STATE, "custom ops are nested more than %u deep in callbacks", kDeepest);
  const CustomOp& custom = *call.exec.context->custom(row.number);
  const bool differentiate_through = custom.callbacks.backward == nullptr;
  Recorder* recorder = call.exec.recorder;
  bool tracked = false;
  for (uint32_t k = 0; recorder && k < n_in; ++k) tracked = tracked || recorder->tracks(in[k]);
  if (differentiate_through || !tracked) recorder = nullptr;

  OutputOwner made(out, n_out);
  {
    UserError error;
    const RecorderScope scope(call.exec, differentiate_through ? call.exec.recorder : nullptr);
    const mill_status status = custom.callbacks.forward(custom.callbacks.user, &call.exec, call.in,
                                                        n_in, out, n_out, error.handle());
    drop_invalid(out, n_out);
    if (status < 0) error.rethrow(status, row.name);
  }
  check_outputs(call, out);
  // Not before the callback, which may record on the same tape.
  Recording recording(recorder, call);
  for (uint32_t k = 0; k < n_out; ++k) {
    call.out[k].dtype = out[k]->dtype();  // NOLINT: check_outputs let no NULL pass
    call.set_dims(k, out[k]->view.dims, out[k]->rank());
  }
  recording.record(call, out);
  made.commit();
}

namespace {

void gradient_custom(GradCall& c) {
  const CustomOp& custom = *c.exec.context->custom(c.row.number);
  mill_tensor* inputs[MILL_MAX_OP_INPUTS];
  mill_tensor* outputs[MILL_MAX_OP_OUTPUTS];
  mill_tensor* gradients[MILL_MAX_OP_OUTPUTS];
  mill_bool wanted[MILL_MAX_OP_INPUTS];
  mill_tensor* results[MILL_MAX_OP_INPUTS] = {};
  for (uint32_t k = 0; k < c.n_in; ++k) {
    inputs[k] = c.in(k);
    wanted[k] = c.wanted(k) ? 1 : 0;
  }
  for (uint32_t k = 0; k < c.n_out; ++k) {
    outputs[k] = c.out(k);
    gradients[k] = c.gradient(k);
  }
  OutputOwner made(results, c.n_in);
  UserError error;
  const mill_status status =
      custom.callbacks.backward(custom.callbacks.user, &c.exec, inputs, c.n_in, outputs, gradients,
                                c.n_out, wanted, results, error.handle());
  const int64_t invalid = drop_invalid(results, c.n_in);
  if (status < 0) error.rethrow(status, c.row.name);
  if (invalid >= 0) {
    fail(MILL_E_BAD_HANDLE, "backward stored no tensor as the gradient by input %lld",
         static_cast<long long>(invalid));
  }
  for (uint32_t k = 0; k < c.n_in; ++k) {
    if (!results[k]) continue;
    const SavedValue& input = c.input(k);
    bool same = results[k]->rank() == input.rank && results[k]->dtype() == input.dtype;
    for (int32_t i = 0; same && i < input.rank; ++i)
      same = results[k]->view.dims[i] == input.dims[i];
    if (!same) {
      fail(MILL_E_SHAPE, "backward's gradient by input %u is %s %s, the input is %s %s", k,
           dtype_name(results[k]->dtype()), format_dims(*results[k]).text, dtype_name(input.dtype),
           format_dims(input.dims, input.rank).text);
    }
    TensorRef gradient = TensorRef::adopt(results[k]);
    results[k] = nullptr;
    if (c.wanted(k)) c.set(k, std::move(gradient));
  }
}

}  // namespace

const OpRules custom_rules = {
    .gradient = gradient_custom, .saved_inputs = ~0u, .saved_outputs = ~0u};

}  // namespace mill
