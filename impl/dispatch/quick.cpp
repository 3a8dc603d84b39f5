#include "dispatch/quick.h"

#include "dispatch/exec.h"

namespace mill {

namespace {

bool plain(const OpRow& row, uint32_t n_in, uint32_t n_attrs) {
  return row.kind == OpKind::pointwise && n_attrs == 0 && n_in == row.n_inputs && n_in <= 2 &&
         row.n_attrs == 0 && !row.rules->infer && row.outputs[0].type == ResultType::same;
}

bool alike(const mill_tensor* a, const mill_tensor* b) {
  return b && b->dense && b->view.dtype == a->view.dtype && same_dims(a->view, b->view) &&
         b->storage->device == a->storage->device;
}

}  // namespace

bool run_quick(Exec& exec, const OpRow& row, mill_tensor* const* in, uint32_t n_in,
               uint32_t n_attrs, mill_tensor** out) {
  if (!plain(row, n_in, n_attrs) || out[0] || exec.trace.on(kOpTraceBits)) return false;
  if (exec.autocast != MILL_DTYPE_NONE && row.autocast != Autocast::keep) [[unlikely]]
    return false;
  const mill_tensor* a = in[0];
  if (!a || !a->dense || a->storage->device != &exec.device ||
      ((row.inputs[0].dtypes >> a->view.dtype) & 1u) == 0) {
    return false;
  }
  const bool two = n_in == 2;
  if (two && !alike(a, in[1])) return false;
  if (const Recorder* recorder = exec.recorder) {
    if (recorder->tracks(a) || (two && recorder->tracks(in[1]))) return false;
  }
  if (a->view.numel == 0) return false;
  const mill_kernel* kernel = exec.resolved(row.number, a->view.dtype);
  if (!kernel) {
    const int32_t dtypes[3] = {a->view.dtype, a->view.dtype, a->view.dtype};
    kernel = &exec.resolve_quick(row, dtypes, n_in);
  }
  if (kernel->workspace) return false;
  const bool ordered = !exec.device.runs_inline();
  const TurnHold turn(exec.device.turns());  // as in launch.cpp
  if (ordered && exec.order == MILL_ORDER_AUTO) [[unlikely]] {
    order_read(*a->storage, exec.stream_id());
    if (two) order_read(*in[1]->storage, exec.stream_id());
  }
  TensorRef made = make_tensor(exec.device, a->view.dtype, a->view.dims, a->view.rank,
                               exec.stream_id(), exec.tag);
  const mill_kernel_tensor* const in_views[2] = {&a->view, two ? &in[1]->view : nullptr};
  const mill_kernel_tensor* const out_views[1] = {&made->view};
  mill_kernel_error error;
  error.text[0] = 0;
  const uint32_t flags = exec.deterministic ? static_cast<uint32_t>(MILL_KERNEL_DETERMINISTIC) : 0u;
  const mill_kernel_args args{in_views,   out_views, nullptr, n_in, 1,
                              0,          flags,     nullptr, 0,    exec.stream->native,
                              &exec.host, &error};
  const mill_status status = kernel->launch(&args);
  if (ordered) [[unlikely]] {
    const Ticket ticket = exec.stream->ticket();
    mark_read(*a->storage, ticket);
    if (two) mark_read(*in[1]->storage, ticket);
    mark_write(*made->storage, ticket);
  }
  if (status != MILL_OK) [[unlikely]] {
    fail(status, "%s", error.text);
  }
  out[0] = made.release();
  return true;
}

}  // namespace mill
