#include "dispatch/launch.h"

#include <algorithm>
#include <cstring>

#include "dispatch/exec.h"
#include "dispatch/invoke.h"
#include "millrace/op_numbers.h"

namespace mill {

namespace {

struct ByteRange {
  const char* begin;
  const char* end;
};

ByteRange byte_range(const mill_kernel_tensor& view) {
  int64_t last = 0;
  for (int32_t i = 0; i < view.rank; ++i) last += (view.dims[i] - 1) * view.strides[i];
  const auto* begin = static_cast<const char*>(view.data);
  return {begin, begin + (last + 1) * dtype_size(view.dtype)};
}

bool overlap(const mill_kernel_tensor& a, const mill_kernel_tensor& b) {
  if (a.numel == 0 || b.numel == 0) return false;
  const ByteRange x = byte_range(a);
  const ByteRange y = byte_range(b);
  return x.begin < y.end && y.begin < x.end;
}

// Whether two elements share memory. Exact for stride 0 and for the nested strides that views have.
bool overlaps_itself(const mill_kernel_tensor& view) {
  if (view.numel <= 1) return false;
  int32_t order[MILL_MAX_RANK];
  for (int32_t i = 0; i < view.rank; ++i) {
    int32_t at = i;
    for (; at > 0 && view.strides[order[at - 1]] > view.strides[i]; --at) order[at] = order[at - 1];
    order[at] = i;
  }
  int64_t reach = 0;
  for (int32_t j = 0; j < view.rank; ++j) {
    const int32_t i = order[j];
    if (view.dims[i] == 1) continue;
    if (view.strides[i] <= reach) return true;
    reach += (view.dims[i] - 1) * view.strides[i];
  }
  return false;
}

bool inplace_allowed(const OpRow& row, uint32_t output, uint32_t input) {
  for (uint32_t j = 0; j < row.n_inplace; ++j) {
    if (row.inplace[j].output == output && row.inplace[j].input == input) return true;
  }
  return false;
}

void check_given(const OpCall& call, uint32_t k, const mill_tensor& out, mill_tensor* const* all) {
  const OpRow& row = call.row;
  const OutputSpec& spec = call.out[k];
  const char* name = row.outputs[k].name;
  if (&out.device() != &call.exec.device) {
    fail(MILL_E_DEVICE, "output %s is on %s %u, the exec is on %s %u", name,
         out.device().table().name, out.device().index(), call.exec.device.table().name,
         call.exec.device.index());
  }
  if (out.dtype() != spec.dtype) {
    fail(MILL_E_DTYPE, "output %s is %s, the result is %s", name, dtype_name(out.dtype()),
         dtype_name(spec.dtype));
  }
  bool same = out.rank() == spec.rank;
  for (int32_t i = 0; same && i < spec.rank; ++i) same = out.view.dims[i] == spec.dims[i];
  if (!same) {
    fail(MILL_E_SHAPE, "output %s is %s, the result is %s", name, format_dims(out).text,
         format_dims(spec.dims, spec.rank).text);
  }
  if (overlaps_itself(out.view)) {
    fail(MILL_E_ALIAS, "output %s %s has elements that share memory with each other", name,
         format_dims(out).text);
  }
  for (uint32_t j = 0; j < call.n_in; ++j) {
    const mill_tensor* in = call.in[j];
    // By address: two imports of one memory are two storages.
    if (!in || !overlap(in->view, out.view)) continue;
    const bool exact = in->view.data == out.view.data && same_dims(in->view, out.view) &&
                       same_strides(in->view, out.view) && in->dtype() == out.dtype();
    if (exact && inplace_allowed(row, k, j)) continue;
    const char* input = row.inputs[row.inputs[0].list ? 0 : j].name;
    fail_argument(MILL_E_ALIAS, static_cast<int32_t>(j),
                  "output %s %s overlaps input %s %s, which %s does not allow", name,
                  format_dims(out).text, input, format_dims(*in).text,
                  exact ? row.name : "a partial overlap");
  }
  for (uint32_t j = 0; j < k; ++j) {
    if (all[j] && overlap(all[j]->view, out.view)) {
      fail(MILL_E_ALIAS, "outputs %s and %s overlap", row.outputs[j].name, name);
    }
  }
  const Recorder* recorder = call.exec.recorder;
  if (recorder &&
      (out.leaf || out.storage->tracked_by.load(std::memory_order_relaxed) == recorder->serial())) {
    fail(MILL_E_STATE,
         "output %s %s is memory that the recording tape tracks; write to it with the tape off",
         name, format_dims(out).text);
  }
}

// Allocates what the caller left null. Returns a bit per output that was given.
uint32_t prepare_outputs(OpCall& call, mill_tensor** out) {
  uint32_t given = 0;
  for (uint32_t k = 0; k < call.n_out; ++k) {
    if (out[k]) {
      if (!call.accumulate) check_given(call, k, *out[k], out);
      given |= 1u << k;
    }
  }
  for (uint32_t k = 0; k < call.n_out; ++k) {
    const OutputSpec& spec = call.out[k];
    if (out[k] || !spec.wanted) continue;
    checked_count(spec.dims, spec.rank, spec.dtype);
    Exec& exec = call.exec;
    out[k] = (spec.strided ? make_tensor_strided(exec.device, spec.dtype, spec.dims, spec.strides,
                                                 spec.rank, exec.stream_id(), exec.tag)
                           : make_tensor(exec.device, spec.dtype, spec.dims, spec.rank,
                                         exec.stream_id(), exec.tag))
                 .release();
  }
  return given;
}

// The input as the kernel is to see it: with the output's dims, stride 0 where it broadcasts.
const mill_kernel_tensor* broadcast(const mill_kernel_tensor& in, const mill_kernel_tensor& out,
                                    mill_kernel_tensor& local) {
  if (same_dims(in, out)) return &in;
  local.data = in.data;
  local.dtype = in.dtype;
  local.numel = out.numel;
  local.rank = out.rank;
  const int32_t shift = out.rank - in.rank;
  for (int32_t i = 0; i < out.rank; ++i) {
    local.dims[i] = out.dims[i];
    const bool own = i >= shift && in.dims[i - shift] == out.dims[i];
    local.strides[i] = own ? in.strides[i - shift] : 0;
  }
  return &local;
}

mill_tensor* row_major(Exec& exec, mill_tensor* tensor) {
  RecorderScope quiet(exec, nullptr);
  mill_tensor* out = nullptr;
  invoke(exec, MILL_OP_CONTIGUOUS, &tensor, 1, nullptr, 0, &out, 1);
  return out;
}

// The exec's stream waits for what other streams still do to the operands.
void order_streams(const OpCall& call, mill_tensor* const* in, mill_tensor* const* out) {
  const uint64_t stream = call.exec.stream_id();
  for (uint32_t k = 0; k < call.n_in; ++k) {
    if (in[k]) order_read(*in[k]->storage, stream);
  }
  for (uint32_t k = 0; k < call.n_out; ++k) {
    if (out[k]) order_write(*out[k]->storage, stream);
  }
}

// A launch that failed may have submitted a part of its work.
void mark_streams(const OpCall& call, mill_tensor* const* in, mill_tensor* const* out) {
  const Ticket ticket = call.exec.stream->ticket();
  for (uint32_t k = 0; k < call.n_in; ++k) {
    if (in[k]) mark_read(*in[k]->storage, ticket);  // NOLINT: launch has filled n_in of them
  }
  for (uint32_t k = 0; k < call.n_out; ++k) {
    if (out[k]) mark_write(*out[k]->storage, ticket);  // NOLINT: and n_out
  }
}

}  // namespace

void launch(OpCall& call, mill_tensor** out) {
  const OpRow& row = call.row;
  Exec& exec = call.exec;
  const uint32_t given = prepare_outputs(call, out);
  Temporaries keep;

  const mill_kernel_tensor* in_views[MILL_MAX_OP_INPUTS];
  const mill_kernel_tensor* out_views[MILL_MAX_OP_OUTPUTS];
  mill_tensor* real_out[MILL_MAX_OP_OUTPUTS];
  mill_tensor* in_tensors[MILL_MAX_OP_INPUTS];
  mill_kernel_tensor local[3];
  int32_t dtypes[MILL_MAX_OP_INPUTS + MILL_MAX_OP_OUTPUTS];
  bool empty = call.n_out > 0;

  for (uint32_t k = 0; k < call.n_out; ++k) {
    real_out[k] = out[k];
    if (out[k] && row.kind == OpKind::dense && !out[k]->dense) {
      real_out[k] = keep.adopt(make_tensor(exec.device, out[k]->dtype(), out[k]->view.dims,
                                           out[k]->rank(), exec.stream_id(), exec.tag)
                                   .release());
    }
    out_views[k] = real_out[k] ? &real_out[k]->view : nullptr;
    dtypes[call.n_in + k] = out[k] ? out[k]->dtype() : MILL_DTYPE_NONE;
    empty = empty && (!out[k] || out[k]->numel() == 0);
  }
  for (uint32_t k = 0; k < call.n_in; ++k) {
    mill_tensor* tensor = call.in[k];
    dtypes[k] = tensor ? tensor->dtype() : MILL_DTYPE_NONE;
    if (!tensor) {
      in_views[k] = nullptr;
    } else if (row.kind == OpKind::pointwise) {
      // NOLINTNEXTLINE: a pointwise op has its first output always
      in_views[k] = broadcast(tensor->view, *out_views[0], local[k]);
    } else if (row.kind == OpKind::dense && !tensor->dense) {
      tensor = keep.adopt(row_major(exec, tensor));
      in_views[k] = &tensor->view;
    } else {
      in_views[k] = &tensor->view;
    }
    in_tensors[k] = tensor;
  }

  if (!empty) {
    const mill_kernel& kernel = exec.resolve(row, dtypes, call.n_in, call.n_out);
    mill_kernel_error error;
    error.text[0] = 0;
    mill_kernel_args args{
        in_views,
        out_views,
        call.attr,
        call.n_in,
        call.n_out,
        row.n_attrs,
        (call.accumulate ? static_cast<uint32_t>(MILL_KERNEL_ACCUMULATE) : 0u) |
            (exec.deterministic ? static_cast<uint32_t>(MILL_KERNEL_DETERMINISTIC) : 0u),
        nullptr,
        0,
        exec.stream->native,
        &exec.host,
        &error};
    Ref<Storage> scratch;
    // Nobody sees work that has been submitted and not been counted.
    const TurnHold turn(exec.device.turns());
    if (!exec.device.runs_inline() && exec.order == MILL_ORDER_AUTO)
      order_streams(call, in_tensors, real_out);
    if (kernel.workspace) {
      args.workspace_bytes = kernel.workspace(&args);
      if (args.workspace_bytes > 0) {
        scratch = Storage::allocate(exec.device, args.workspace_bytes, exec.stream_id(), exec.tag);
        args.workspace = scratch->data;
      }
    }
    const mill_status status = kernel.launch(&args);
    if (!exec.device.runs_inline()) mark_streams(call, in_tensors, real_out);
    if (status != MILL_OK) [[unlikely]] {
      fail(status, "%s", error.text);
    }
  }

  if (given == 0) return;
  for (uint32_t k = 0; k < call.n_out; ++k) {
    if (((given >> k) & 1u) == 0) continue;
    if (real_out[k] != out[k]) {
      RecorderScope quiet(exec, nullptr);
      invoke(exec, MILL_OP_COPY, &real_out[k], 1, nullptr, 0, &out[k], 1);
    }
    out[k]->storage->version.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace mill
