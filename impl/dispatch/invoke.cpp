#include "dispatch/invoke.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/fork.h"
#include "dispatch/exec.h"
#include "dispatch/generator.h"
#include "dispatch/launch.h"
#include "dispatch/quick.h"
#include "dispatch/trace_op.h"
#include "millrace/op_numbers.h"

namespace mill {

void OpCall::set_dims(uint32_t k, const int64_t* dims, int32_t rank) {
  OutputSpec& spec = out[k];
  spec.rank = rank;
  for (int32_t i = 0; i < rank; ++i) spec.dims[i] = dims[i];
}

namespace {

[[noreturn]] void wrong_count(const char* what, const OpRow& row, uint32_t have, uint32_t want) {
  fail(MILL_E_ARG, "%u %s given, %s takes %u", have, what, row.name, want);
}

void load_inputs(OpCall& call, mill_tensor* const* in, uint32_t n_in) {
  const OpRow& row = call.row;
  const bool list = row.n_inputs > 0 && row.inputs[0].list;
  if (list) {
    if (n_in == 0 || n_in > MILL_MAX_OP_INPUTS) {
      fail(MILL_E_ARG, "%u inputs given, %s takes 1 to %d", n_in, row.name, MILL_MAX_OP_INPUTS);
    }
  } else if (n_in != row.n_inputs) {
    wrong_count("inputs", row, n_in, row.n_inputs);
  }
  if (n_in > 0 && !in) fail(MILL_E_ARG, "inputs is NULL, %s takes %u", row.name, n_in);
  call.n_in = n_in;
  for (uint32_t k = 0; k < n_in; ++k) {
    mill_tensor* tensor = in[k];
    call.in[k] = tensor;
    const InputRow& input = row.inputs[list ? 0 : k];
    if (!tensor) {
      if (input.optional) continue;
      fail_argument(MILL_E_ARG, static_cast<int32_t>(k), "%s is NULL, it is required", input.name);
    }
    if (&tensor->device() != &call.exec.device) [[unlikely]] {
      if (tensor->device().fork_generation() != fork_generation()) {
        fail_argument(MILL_E_FORKED, static_cast<int32_t>(k),
                      "%s was made before fork(); make a new one in the child", input.name);
      }
      fail_argument(MILL_E_DEVICE, static_cast<int32_t>(k),
                    "%s is on %s %u of %s context, the exec is on %s %u; mill_tensor_to copies",
                    input.name, tensor->device().table().name, tensor->device().index(),
                    tensor->device().owner() == call.exec.device.owner() ? "the same" : "another",
                    call.exec.device.table().name, call.exec.device.index());
    }
    if (((input.dtypes >> tensor->dtype()) & 1u) == 0) [[unlikely]] {
      fail_argument(MILL_E_DTYPE, static_cast<int32_t>(k),
                    "%s is %s %s, %s takes %s; mill_cast converts", input.name,
                    dtype_name(tensor->dtype()), format_dims(*tensor).text, row.name,
                    format_dtypes(input.dtypes).text);
    }
  }
}

const char* attr_kind_name(int32_t kind) {
  switch (kind) {
    case MILL_ATTR_ABSENT: return "absent";
    case MILL_ATTR_INT: return "an integer";
    case MILL_ATTR_FLOAT: return "a float";
    case MILL_ATTR_INTS: return "a list of integers";
    case MILL_ATTR_FLOATS: return "a list of floats";
    case MILL_ATTR_STRING: return "a string";
    case MILL_ATTR_DTYPE: return "a dtype";
    default: return "which is none";
  }
}

void check_attr(const OpRow& row, const AttrRow& want, const mill_attr& have) {
  const bool number = want.kind == MILL_ATTR_INT && have.kind == MILL_ATTR_DTYPE;
  if (have.kind != want.kind && !number) {
    fail(MILL_E_ARG, "attribute %s of %s is of kind %d, %s; kind %d, %s, is given", want.name,
         row.name, want.kind, attr_kind_name(want.kind), have.kind, attr_kind_name(have.kind));
  }
  if (want.kind == MILL_ATTR_DTYPE && !is_dtype(static_cast<int32_t>(have.i))) {
    fail(MILL_E_ARG, "%s is %lld, dtypes are 1 to %d", want.name, static_cast<long long>(have.i),
         MILL_DTYPE_COUNT - 1);
  }
  const bool array =
      want.kind == MILL_ATTR_INTS || want.kind == MILL_ATTR_FLOATS || want.kind == MILL_ATTR_STRING;
  if (array && have.n > 0 && !have.p) {
    fail(MILL_E_ARG, "%s is NULL, its length is %llu", want.name,
         static_cast<unsigned long long>(have.n));
  }
  if (want.kind == MILL_ATTR_INTS && have.n > MILL_MAX_RANK) {
    fail(MILL_E_SHAPE, "%s has %llu values, the limit is %d", want.name,
         static_cast<unsigned long long>(have.n), MILL_MAX_RANK);
  }
  if (want.kind == MILL_ATTR_FLOAT && have.f != have.f)
    fail(MILL_E_ARG, "%s is NaN, it must be a number", want.name);
}

void load_attrs(const OpRow& row, mill_attr* to, const mill_attr* attrs, uint32_t n_attrs) {
  for (uint32_t k = 0; k < row.n_attrs; ++k) to[k] = row.attrs[k].value;
  if (n_attrs > 0 && !attrs) fail(MILL_E_ARG, "attrs is NULL, their number is %u", n_attrs);
  uint32_t given = 0;
  for (uint32_t j = 0; j < n_attrs; ++j) {
    const mill_attr& have = attrs[j];
    if (have.id < 0 || static_cast<uint32_t>(have.id) >= row.n_attrs) {
      fail(MILL_E_ARG, "attribute %d is unknown, %s has %u", have.id, row.name, row.n_attrs);
    }
    if (have.kind == MILL_ATTR_ABSENT) continue;
    check_attr(row, row.attrs[have.id], have);
    if (((given >> static_cast<uint32_t>(have.id)) & 1u) != 0)
      fail(MILL_E_ARG, "attribute %s of %s is given twice", row.attrs[have.id].name, row.name);
    to[have.id] = have;
    given |= 1u << static_cast<uint32_t>(have.id);
  }
  for (uint32_t k = 0; k < row.n_attrs; ++k) {
    if (row.attrs[k].required && ((given >> k) & 1u) == 0) {
      fail(MILL_E_ARG, "attribute %s of %s is missing, it has no default", row.attrs[k].name,
           row.name);
    }
  }
}

// The inputs that must agree: the lead (input 0, or 1 where input 0 is a condition) and those
// marked `same`.
uint32_t lead_input(const OpRow& row) {
  return row.n_inputs > 1 && row.inputs[0].dtypes == dtype_bit(MILL_BOOL) ? 1 : 0;
}

// PyTorch's result type: tensors with dims outrank scalars of the same kind.
int32_t common_dtype(const OpCall& call, uint32_t lead) {
  int32_t wide = MILL_DTYPE_NONE;
  int32_t scalar = MILL_DTYPE_NONE;
  const bool list = call.row.inputs[0].list;
  for (uint32_t k = lead; k < call.n_in; ++k) {
    const mill_tensor* tensor = call.in[k];
    if (!tensor || !(k == lead || list || call.row.inputs[k].same)) continue;
    int32_t& slot = tensor->rank() > 0 ? wide : scalar;
    const int32_t joined =
        slot == MILL_DTYPE_NONE ? tensor->dtype() : promote(slot, tensor->dtype());
    if (joined == MILL_DTYPE_NONE) {
      fail_argument(MILL_E_DTYPE, static_cast<int32_t>(k),
                    "inputs are %s and %s, which have no common dtype", dtype_name(slot),
                    dtype_name(tensor->dtype()));
    }
    slot = joined;
  }
  if (wide == MILL_DTYPE_NONE) return scalar;
  if (scalar == MILL_DTYPE_NONE) return wide;
  const auto rank_of = [](int32_t dtype) {
    switch (dtype_kind(dtype)) {
      case Kind::boolean: return 0;
      case Kind::unsigned_integer:
      case Kind::signed_integer: return 1;
      case Kind::floating: return 2;
      default: return 3;
    }
  };
  if (rank_of(scalar) <= rank_of(wide)) return wide;
  // Of a floating tensor and a complex scalar: complex parts as wide as the tensor's elements.
  if (dtype_kind(wide) == Kind::floating) return promote(wide, MILL_C64);
  return promote(wide, scalar);
}

// Casts inputs that differ from the common dtype; `keep` owns the casts until the call ends.
void promote_inputs(OpCall& call, Temporaries& keep) {
  const OpRow& row = call.row;
  if (row.n_inputs == 0) return;
  const bool list = row.inputs[0].list;
  const uint32_t lead = lead_input(row);
  if (lead >= call.n_in || !call.in[lead]) return;
  const int32_t first = call.in[lead]->dtype();
  bool equal = true;
  for (uint32_t k = lead + 1; k < call.n_in; ++k) {
    if (call.in[k] && (list || row.inputs[k].same)) equal = equal && call.in[k]->dtype() == first;
  }
  if (equal) [[likely]]
    return;
  const int32_t common = common_dtype(call, lead);
  if (common == MILL_DTYPE_NONE || ((row.inputs[lead].dtypes >> common) & 1u) == 0) {
    fail(MILL_E_DTYPE, "inputs promote to %s, %s takes %s; mill_cast converts", dtype_name(common),
         row.name, format_dtypes(row.inputs[lead].dtypes).text);
  }
  for (uint32_t k = lead; k < call.n_in; ++k) {
    mill_tensor* tensor = call.in[k];
    if (!tensor || tensor->dtype() == common || !(k == lead || list || row.inputs[k].same))
      continue;
    const mill_attr attr = dtype_attr(0, common);
    mill_tensor* out = nullptr;
    invoke(call.exec, MILL_OP_CAST, &tensor, 1, &attr, 1, &out, 1);
    call.in[k] = keep.adopt(out);
  }
}

// Mixed precision: what the exec's autocast and the op's policy make of the inputs.
void autocast_inputs(OpCall& call, Temporaries& keep) {
  for (uint32_t k = 0; k < call.n_in; ++k) {
    // Next to f64 the others promote to it: narrowing them first would only lose.
    if (call.in[k] && call.in[k]->dtype() == MILL_F64) return;
  }
  for (uint32_t k = 0; k < call.n_in; ++k) {
    mill_tensor* tensor = call.in[k];
    if (!tensor) continue;
    const int32_t wanted = autocast_dtype(call.exec, call.row.autocast, tensor->dtype());
    if (wanted == tensor->dtype()) continue;
    const mill_attr attr = dtype_attr(0, wanted);
    mill_tensor* out = nullptr;
    invoke(call.exec, MILL_OP_CAST, &tensor, 1, &attr, 1, &out, 1);
    call.in[k] = keep.adopt(out);
  }
}

int32_t result_dtype(const OpCall& call, ResultType type) {
  const int32_t lead = call.n_in > 0 && call.in[0] ? call.in[0]->dtype() : MILL_F32;
  switch (type) {
    case ResultType::same: return lead;
    case ResultType::second: return call.n_in > 1 && call.in[1] ? call.in[1]->dtype() : lead;
    case ResultType::boolean: return MILL_BOOL;
    case ResultType::i64:
    case ResultType::key: return MILL_I64;
    case ResultType::f32: return MILL_F32;
    case ResultType::stat: return lead == MILL_F64 ? MILL_F64 : MILL_F32;
    case ResultType::attr: break;
  }
  for (uint32_t k = 0; k < call.row.n_attrs; ++k) {
    if (call.row.attrs[k].kind == MILL_ATTR_DTYPE) return static_cast<int32_t>(call.attr[k].i);
  }
  return MILL_F32;
}

}  // namespace

void strides_like(OutputSpec& spec, const mill_kernel_tensor& model) {
  int32_t order[MILL_MAX_RANK];
  for (int32_t i = 0; i < spec.rank; ++i) order[i] = i;
  // Of two equal strides the one of an axis with one element is the inner: channels that were last
  // stay last where there is one.
  std::stable_sort(order, order + spec.rank, [&](int32_t a, int32_t b) {
    if (model.strides[a] != model.strides[b]) return model.strides[a] > model.strides[b];
    return model.dims[a] != 1 && model.dims[b] == 1;
  });
  int64_t stride = 1;
  for (int32_t i = spec.rank - 1; i >= 0; --i) {
    spec.strides[order[i]] = stride;
    stride *= std::max<int64_t>(spec.dims[order[i]], 1);
  }
  spec.strided = true;
}

int32_t autocast_dtype(const Exec& exec, Autocast policy, int32_t dtype) {
  if (exec.autocast == MILL_DTYPE_NONE || policy == Autocast::keep) return dtype;
  const bool half = dtype == MILL_F16 || dtype == MILL_BF16;
  if (!half && dtype != MILL_F32) return dtype;
  return policy == Autocast::low ? exec.autocast : MILL_F32;
}

void infer_pointwise(OpCall& call) {
  OutputSpec& spec = call.out[0];
  int32_t rank = 0;
  for (uint32_t k = 0; k < call.n_in; ++k) rank = std::max(rank, call.in[k]->rank());
  for (int32_t i = 0; i < rank; ++i) spec.dims[i] = 1;
  spec.rank = rank;
  for (uint32_t k = 0; k < call.n_in; ++k) {
    const mill_kernel_tensor& view = call.shape(k);
    for (int32_t i = 0; i < view.rank; ++i) {
      int64_t& dim = spec.dims[rank - view.rank + i];
      const int64_t have = view.dims[i];
      if (dim == have || have == 1) continue;
      if (dim != 1) {
        fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k),
                      "%s is %s, which does not broadcast with %s of the others",
                      call.row.inputs[k].name, format_dims(*call.in[k]).text,
                      format_dims(spec.dims, rank).text);
      }
      dim = have;
    }
  }
  for (uint32_t k = 0; k < call.n_in; ++k) {
    const mill_tensor* tensor = call.in[k];
    if (tensor->rank() != rank || tensor->dense) continue;
    bool full = true;
    bool spread = true;
    for (int32_t i = 0; i < rank; ++i) {
      full = full && tensor->view.dims[i] == spec.dims[i];
      spread = spread && (tensor->view.strides[i] != 0 || spec.dims[i] == 1);
    }
    if (full && spread) {
      strides_like(spec, tensor->view);
      return;
    }
  }
}

namespace {

// True if the result is a view of the input and no kernel is needed.
bool run_view(OpCall& call, mill_tensor** out) {
  const OpRow& row = call.row;
  if (!row.rules->view) return false;
  if (out[0]) {
    if (row.kind != OpKind::view) return false;
    fail(MILL_E_ARG, "out is given, %s returns a view; use mill_copy to write into a tensor",
         row.name);
  }
  mill_tensor* x = call.in[0];
  TensorRef result = row.rules->view(call, x);
  if (!result) {
    if (row.kind != OpKind::view) return false;
    mill_tensor* dense = nullptr;
    RecorderScope quiet(call.exec, nullptr);
    invoke(call.exec, MILL_OP_CONTIGUOUS, &x, 1, nullptr, 0, &dense, 1);
    const TensorRef owner = TensorRef::adopt(dense);
    result = row.rules->view(call, dense);
  }
  out[0] = result.release();
  return true;
}

void infer(OpCall& call) {
  for (uint32_t k = 0; k < call.n_out; ++k) {
    OutputSpec& spec = call.out[k];
    spec.dtype = result_dtype(call, call.row.outputs[k].type);
    spec.wanted = true;
    spec.strided = false;
    spec.rank = 0;
  }
  if (call.row.rules->infer) {
    call.row.rules->infer(call);
  } else {
    infer_pointwise(call);
  }
}

bool tracked(const Recorder& recorder, const OpCall& call) {
  for (uint32_t k = 0; k < call.n_in; ++k) {
    if (call.in[k] && recorder.tracks(call.in[k])) return true;
  }
  return false;
}

void run(OpCall& call, mill_tensor* const* in, uint32_t n_in, const mill_attr* attrs,
         uint32_t n_attrs, mill_tensor** out, uint32_t n_out) {
  Temporaries keep;
  if (!call.row.random) {
    infer_call(call, in, n_in, attrs, n_attrs, n_out, keep);
    run_inferred(call, out);
    return;
  }
  KeyDraw draw(call.exec);
  call.draw = &draw;
  infer_call(call, in, n_in, attrs, n_attrs, n_out, keep);
  run_inferred(call, out);
  draw.keep();
}

void run_any(OpCall& call, mill_tensor* const* in, uint32_t n_in, const mill_attr* attrs,
             uint32_t n_attrs, mill_tensor** out, uint32_t n_out) {
  OpSpan span(call.exec.trace, call.row.number);
  call.instance = span.instance();
  try {
    if (call.row.number >= MILL_OP_CUSTOM) {
      run_custom(call, in, n_in, n_attrs, out, n_out);
    } else {
      run(call, in, n_in, attrs, n_attrs, out, n_out);
    }
  } catch (Error& error) {
    error.with_operation(call.row.name);
    span.fail(error.status());
    throw;
  } catch (const std::bad_alloc&) {
    span.fail(MILL_E_MEMORY);
    throw;
  }
  if (span.on()) [[unlikely]]
    span.finish(op_facts(call, out));
}

}  // namespace

void check_attrs(const OpRow& row, const mill_attr* attrs, uint32_t n_attrs) {
  mill_attr unused[MILL_MAX_OP_ATTRS];
  load_attrs(row, unused, attrs, n_attrs);
}

void infer_call(OpCall& call, mill_tensor* const* in, uint32_t n_in, const mill_attr* attrs,
                uint32_t n_attrs, uint32_t n_out, Temporaries& keep) {
  const OpRow& row = call.row;
  if (n_out != row.n_outputs) wrong_count("outputs", row, n_out, row.n_outputs);
  call.n_out = n_out;
  load_inputs(call, in, n_in);
  load_attrs(row, call.attr, attrs, n_attrs);
  if (row.random && !call.in[row.n_inputs - 1] && row.inputs[row.n_inputs - 1].optional) {
    call.in[row.n_inputs - 1] = call.draw->take();
  }
  if (call.exec.autocast != MILL_DTYPE_NONE && row.autocast != Autocast::keep) [[unlikely]]
    autocast_inputs(call, keep);
  promote_inputs(call, keep);
  infer(call);
}

void run_inferred(OpCall& call, mill_tensor** out) {
  OutputOwner made(out, call.n_out);
  Recorder* recorder = call.exec.recorder;
  if (recorder && (call.row.gradient == GradientKind::zero || !tracked(*recorder, call)))
    recorder = nullptr;
  Recording recording(recorder, call);
  if (!run_view(call, out)) launch(call, out);
  recording.record(call, out);
  made.commit();
}

void invoke(Exec& exec, int32_t op, mill_tensor* const* in, uint32_t n_in, const mill_attr* attrs,
            uint32_t n_attrs, mill_tensor** out, uint32_t n_out) {
  const OpRow& row = exec.context->row(op);
  try {
    if (n_out == 1 && run_quick(exec, row, in, n_in, n_attrs, out)) return;
  } catch (Error& error) {
    error.with_operation(row.name);
    throw;
  }
  OpCall call(exec, row);
  run_any(call, in, n_in, attrs, n_attrs, out, n_out);
}

void invoke_accumulate(Exec& exec, int32_t op, mill_tensor* const* in, uint32_t n_in,
                       const mill_attr* attrs, uint32_t n_attrs, mill_tensor* out) {
  OpCall call(exec, exec.context->row(op));
  call.accumulate = true;
  run_any(call, in, n_in, attrs, n_attrs, &out, 1);
}

}  // namespace mill
