#include "millrace/op.h"

#include "base/utf8.h"
#include "dispatch/invoke.h"
#include "dispatch/prepared.h"
#include "guard.h"
#include "invoke_op.h"

namespace mill::api {

namespace {

const char* input_name(const OpRow& row, uint32_t k) {
  if (row.n_inputs == 0) return "input";
  return row.inputs[row.inputs[0].list ? 0 : k < row.n_inputs ? k : row.n_inputs - 1].name;
}

void check_input_array(const OpRow& row, mill_tensor* const* in, uint32_t n_in) {
  if (n_in > MILL_MAX_OP_INPUTS)
    fail(MILL_E_ARG, "%u inputs given, the limit is %d", n_in, MILL_MAX_OP_INPUTS);
  if (n_in > 0 && !in) fail(MILL_E_ARG, "inputs is NULL, its length is %u", n_in);
  for (uint32_t k = 0; k < n_in; ++k) {
    if (in[k] && !valid(in[k], HandleKind::tensor)) [[unlikely]]
      need(in[k], static_cast<int32_t>(k), input_name(row, k));
  }
}

void check_output_array(mill_tensor* const* out, uint32_t n_out) {
  if (n_out > MILL_MAX_OP_OUTPUTS)
    fail(MILL_E_ARG, "%u outputs given, the limit is %d", n_out, MILL_MAX_OP_OUTPUTS);
  if (n_out > 0 && !out) fail(MILL_E_ARG, "outputs is NULL, its length is %u", n_out);
  for (uint32_t k = 0; k < n_out; ++k) {
    if (out[k]) need(out[k], -1, "output");
  }
}

// For the sentence of a failure that comes before the exec, and with it the context's rows, is
// known.
const char* op_name(int32_t op) {
  for (uint32_t k = 0; k < op_table_size(); ++k) {
    if (op_table()[k].number == op) return op_table()[k].name;
  }
  return "op";
}

// Runs an op and notes what it allocated. `run` fills out.
template <class Run>
void run_noted(mill_exec& exec, mill_tensor** out, uint32_t n_out, Run&& run) {
  uint32_t made = 0;
  for (uint32_t k = 0; k < n_out; ++k) made |= out[k] ? 0u : 1u << k;
  exec.reserve_notes(n_out);
  run();
  if (!exec.notes()) [[likely]]
    return;
  for (uint32_t k = 0; k < n_out; ++k) {
    if (((made >> k) & 1u) != 0 && out[k]) exec.note(out[k]);
  }
}

}  // namespace

mill_status invoke_op(mill_exec* exec, int32_t op, mill_tensor* const* in, uint32_t n_in,
                      const mill_attr* attrs, uint32_t n_attrs, mill_tensor** const* out,
                      uint32_t n_out, mill_error* err) noexcept {
  try {
    fault_point();
    mill_exec& e = need(exec, -1, "exec");
    const ExecGuard entered(e);
    const OpRow& row = e.context->row(op);
    check_input_array(row, in, n_in);
    mill_tensor* results[MILL_MAX_OP_OUTPUTS];
    for (uint32_t k = 0; k < n_out; ++k) {
      if (!out[k])
        fail(MILL_E_ARG, "output %s is NULL, it must point to a tensor or NULL handle",
             row.outputs[k].name);
      results[k] = *out[k];
      if (results[k]) need(results[k], -1, row.outputs[k].name);
    }
    run_noted(e, results, n_out, [&] { invoke(e, op, in, n_in, attrs, n_attrs, results, n_out); });
    for (uint32_t k = 0; k < n_out; ++k) *out[k] = results[k];
    return MILL_OK;
  } catch (...) {
    return translate(err, op_name(op));
  }
}

}  // namespace mill::api

using namespace mill;       // NOLINT: the bodies of exported functions are all engine calls
using namespace mill::api;  // NOLINT

mill_status mill_op_invoke(mill_exec* exec, int32_t op, mill_tensor* const* inputs,
                           uint32_t n_inputs, const mill_attr* attrs, uint32_t n_attrs,
                           mill_tensor** outputs, uint32_t n_outputs, mill_error* err) {
  return guard("mill_op_invoke", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    const OpRow& row = e.context->row(op);
    try {
      check_input_array(row, inputs, n_inputs);
      check_output_array(outputs, n_outputs);
      if (n_attrs > MILL_MAX_OP_ATTRS) {
        fail(MILL_E_ARG, "%u attributes given, the limit is %d", n_attrs, MILL_MAX_OP_ATTRS);
      }
      run_noted(e, outputs, n_outputs,
                [&] { invoke(e, op, inputs, n_inputs, attrs, n_attrs, outputs, n_outputs); });
    } catch (Error& error) {
      error.with_operation(row.name);
      throw;
    }
  });
}

mill_status mill_op_prepare(mill_exec* exec, int32_t op, mill_tensor* const* inputs,
                            uint32_t n_inputs, const mill_attr* attrs, uint32_t n_attrs,
                            mill_call** out_call, mill_error* err) {
  return guard("mill_op_prepare", err, [&] {
    clear_out(out_call, 6, "out_call");
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    check_input_array(e.context->row(op), inputs, n_inputs);
    give(e, Ref<mill_call>::adopt(slab_new<mill_call>(e, op, inputs, n_inputs, attrs, n_attrs)),
         out_call);
  });
}

mill_status mill_call_run(mill_call* call, mill_exec* exec, mill_tensor* const* inputs,
                          uint32_t n_inputs, mill_tensor** outputs, uint32_t n_outputs,
                          mill_error* err) {
  return guard("mill_call_run", err, [&] {
    mill_call& c = need(call, 0, "call");
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    check_input_array(c.row(), inputs, n_inputs);
    check_output_array(outputs, n_outputs);
    run_noted(e, outputs, n_outputs, [&] { c.run(e, inputs, n_inputs, outputs, n_outputs); });
  });
}

void mill_call_retain(mill_call* call) {
  if (valid(call, HandleKind::call)) retain(call);
}

void mill_call_release(mill_call* call) {
  if (valid(call, HandleKind::call)) release(call);
}

mill_status mill_op_find(mill_context* context, const char* name, int32_t* out_op,
                         mill_error* err) {
  return guard("mill_op_find", err, [&] {
    need_out(out_op, 2, "out_op") = 0;
    mill_context& c = need_context(context);
    need_out(name, 1, "name");
    need_utf8(name, 1, "name");
    const OpRow* row = c.find(name);
    if (!row) fail_argument(MILL_E_ARG, 1, "name is \"%.64s\", no op of this context has it", name);
    *out_op = row->number;
  });
}

mill_status mill_op_list(mill_context* context, int32_t* ops, uint32_t capacity,
                         uint32_t* out_count, mill_error* err) {
  return guard("mill_op_list", err, [&]() -> mill_status {
    need_out(out_count, 3, "out_count") = 0;
    mill_context& c = need_context(context);
    if (capacity > 0 && !ops) fail_argument(MILL_E_ARG, 1, "ops is NULL, capacity is %u", capacity);
    const uint32_t built_in = op_table_size();
    const uint32_t total = built_in + c.custom_count();
    for (uint32_t k = 0; k < total && k < capacity; ++k) {
      ops[k] =
          k < built_in ? op_table()[k].number : MILL_OP_CUSTOM + static_cast<int32_t>(k - built_in);
    }
    *out_count = total;
    return total > capacity ? MILL_INCOMPLETE : MILL_OK;
  });
}

mill_status mill_op_query(mill_context* context, int32_t op, mill_op_schema* schema,
                          mill_error* err) {
  return guard("mill_op_query", err, [&] {
    const OpRow& row = need_context(context).row(op);
    mill_op_schema out{};
    out.number = row.number;
    out.version = row.version;
    out.n_inputs = row.n_inputs;
    out.n_outputs = row.n_outputs;
    out.n_attrs = row.n_attrs;
    out.name = row.name;
    out.family = row.family;
    out.doc = row.doc;
    if (row.gradient == GradientKind::yes) out.flags |= MILL_OP_GRADIENT;
    if (row.kind == OpKind::pointwise) out.flags |= MILL_OP_POINTWISE;
    if (row.kind == OpKind::view) out.flags |= MILL_OP_VIEW;
    if (row.random) out.flags |= MILL_OP_RANDOM;
    if (row.n_inputs > 0 && row.inputs[0].list) out.flags |= MILL_OP_LIST_INPUT;
    if (row.number >= MILL_OP_CUSTOM) out.flags |= MILL_OP_IS_CUSTOM;
    if (row.autocast == Autocast::low) out.flags |= MILL_OP_AUTOCAST_LOW;
    if (row.autocast == Autocast::high) out.flags |= MILL_OP_AUTOCAST_HIGH;
    write_struct(schema, MILL_STRUCT_OP_SCHEMA, "schema", 2, out);
  });
}

namespace {

void check_index(const OpRow& row, uint32_t index, uint32_t count, const char* what) {
  if (index >= count)
    fail_argument(MILL_E_ARG, 2, "index is %u, %s has %u %s", index, row.name, count, what);
}

}  // namespace

namespace {

// 0: an attribute says which.
uint32_t result_dtypes(const OpRow& row, ResultType type) {
  switch (type) {
    case ResultType::same: return row.n_inputs > 0 ? row.inputs[0].dtypes : 0;
    case ResultType::second: return row.n_inputs > 1 ? row.inputs[1].dtypes : 0;
    case ResultType::boolean: return dtype_bit(MILL_BOOL);
    case ResultType::i64:
    case ResultType::key: return dtype_bit(MILL_I64);
    case ResultType::f32: return dtype_bit(MILL_F32);
    case ResultType::stat: return dtype_bit(MILL_F32) | dtype_bit(MILL_F64);
    case ResultType::attr: break;
  }
  return 0;
}

}  // namespace

mill_status mill_op_query_attr(mill_context* context, int32_t op, uint32_t index,
                               mill_attr_schema* schema, mill_error* err) {
  return guard("mill_op_query_attr", err, [&] {
    const OpRow& row = need_context(context).row(op);
    check_index(row, index, row.n_attrs, "attributes");
    mill_attr_schema out{};
    out.name = row.attrs[index].name;
    out.kind = row.attrs[index].kind;
    out.required = row.attrs[index].required ? 1 : 0;
    out.value = row.attrs[index].value;
    write_struct(schema, MILL_STRUCT_ATTR_SCHEMA, "schema", 3, out);
  });
}

mill_status mill_op_query_input(mill_context* context, int32_t op, uint32_t index,
                                mill_attr_schema* schema, mill_error* err) {
  return guard("mill_op_query_input", err, [&] {
    const OpRow& row = need_context(context).row(op);
    check_index(row, index, row.n_inputs, "inputs");
    mill_attr_schema out{};
    out.name = row.inputs[index].name;
    out.required = row.inputs[index].optional ? 0 : 1;
    out.dtypes = row.inputs[index].dtypes;
    write_struct(schema, MILL_STRUCT_ATTR_SCHEMA, "schema", 3, out);
  });
}

mill_status mill_op_query_output(mill_context* context, int32_t op, uint32_t index,
                                 mill_attr_schema* schema, mill_error* err) {
  return guard("mill_op_query_output", err, [&] {
    const OpRow& row = need_context(context).row(op);
    check_index(row, index, row.n_outputs, "outputs");
    mill_attr_schema out{};
    out.name = row.outputs[index].name;
    out.required = 1;
    out.dtypes = result_dtypes(row, row.outputs[index].type);
    for (uint32_t k = 0; k < row.n_inplace; ++k) {
      if (row.inplace[k].output == index) out.inplace |= 1u << row.inplace[k].input;
    }
    write_struct(schema, MILL_STRUCT_ATTR_SCHEMA, "schema", 3, out);
  });
}

mill_status mill_op_supports(mill_context* context, uint32_t device, int32_t op, mill_dtype dtype,
                             mill_error* err) {
  return guard("mill_op_supports", err, [&] {
    mill_context& c = need_context(context);
    const OpRow& row = c.row(op);
    if (device >= c.devices.size()) {
      fail_argument(MILL_E_ARG, 1, "device is %u, the context has %u", device, c.devices.size());
    }
    if (!is_dtype(dtype))
      fail_argument(MILL_E_ARG, 3, "dtype is %d, dtypes are 1 to %d", dtype, MILL_DTYPE_COUNT - 1);
    if (row.kind == OpKind::view || row.number >= MILL_OP_CUSTOM) return;
    const uint32_t lead = row.n_inputs > 1 && row.inputs[0].dtypes == dtype_bit(MILL_BOOL) ? 1 : 0;
    if (row.n_inputs > 0 && ((row.inputs[lead].dtypes >> dtype) & 1u) == 0) {
      fail_argument(MILL_E_UNSUPPORTED, 3, "dtype is %s, %s does not take it for %s",
                    dtype_name(dtype), row.name, row.inputs[lead].name);
    }
    int32_t dtypes[MILL_MAX_OP_INPUTS + MILL_MAX_OP_OUTPUTS];
    for (uint32_t k = 0; k < row.n_inputs; ++k) {
      dtypes[k] = ((row.inputs[k].dtypes >> dtype) & 1u) != 0 ? dtype : MILL_I64;
    }
    if (lead == 1) dtypes[0] = MILL_BOOL;
    for (uint32_t k = 0; k < row.n_outputs; ++k) dtypes[row.n_inputs + k] = dtype;
    mill_kernel kernel{};
    mill_kernel_error error{};
    const mill_device_table& table = c.devices[device].table();
    check(table.ops->resolve(table.self, op, dtypes, row.n_inputs, row.n_outputs,
                             MILL_KERNEL_DETERMINISTIC, &kernel, &error),
          error);
  });
}

mill_status mill_op_register(mill_context* context, const mill_custom_op* op, int32_t* out_op,
                             mill_error* err) {
  bool accepted = false;
  const mill_status status = guard("mill_op_register", err, [&] {
    need_out(out_op, 2, "out_op") = 0;
    mill_context& c = need_context(context);
    need_out(op, 1, "op");
    const mill_custom_op given = read_struct(op, MILL_STRUCT_CUSTOM_OP, "op", 1);
    if (!given.name) fail_argument(MILL_E_ARG, 1, "op->name is NULL");
    need_utf8(given.name, 1, "op->name");
    if (!given.forward) fail_argument(MILL_E_ARG, 1, "op->forward is NULL");
    if (given.n_inputs == 0 || given.n_inputs > 31 || given.n_outputs == 0 ||
        given.n_outputs > MILL_MAX_OP_OUTPUTS) {
      fail_argument(MILL_E_ARG, 1,
                    "op has %u inputs and %u outputs, 1 to 31 and 1 to %d are allowed",
                    given.n_inputs, given.n_outputs, MILL_MAX_OP_OUTPUTS);
    }
    if (given.reserved != 0) fail_argument(MILL_E_ARG, 1, "op->reserved is not 0");
    *out_op = c.add_custom(given);
    accepted = true;
  });
  // The promise of exactly one destroy holds for a failed registration too.
  if (!accepted && op && op->type == MILL_STRUCT_CUSTOM_OP && op->size >= sizeof(mill_custom_op) &&
      op->destroy) {
    op->destroy(op->user);
  }
  return status;
}
