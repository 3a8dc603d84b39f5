#include "millrace/exec.h"

#include "autograd/tape.h"
#include "base/utf8.h"
#include "dispatch/generator.h"
#include "dispatch/late_reads.h"
#include "dispatch/trace_op.h"
#include "guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

mill_status mill_exec_create(mill_context* context, uint32_t device, mill_stream* stream,
                             mill_exec** out_exec, mill_error* err) {
  return guard("mill_exec_create", err, [&] {
    clear_out(out_exec, 3, "out_exec");
    mill_context& c = need_context(context);
    if (device >= c.devices.size()) {
      fail_argument(MILL_E_ARG, 1, "device is %u, the context has %u", device, c.devices.size());
    }
    Device& on = c.devices[device];
    mill_stream* given = maybe(stream, 2, "stream");
    if (given && given->device.owner() != on.owner())
      fail_argument(MILL_E_DEVICE, 2, "stream belongs to another context than the one given");
    if (given && &given->device != &on) {
      fail_argument(MILL_E_DEVICE, 2, "stream is of device %u, the exec is to be on device %u",
                    given->device.index(), device);
    }
    Ref<mill_stream> queue = given ? Ref<mill_stream>::share(given)
                                   : Ref<mill_stream>::adopt(slab_new<mill_stream>(
                                         on, c.next_id.fetch_add(1, std::memory_order_relaxed)));
    *out_exec = slab_new<mill_exec>(&c, on, std::move(queue));
  });
}

void mill_exec_retain(mill_exec* exec) {
  if (valid(exec, HandleKind::exec)) retain(exec);
}

void mill_exec_release(mill_exec* exec) {
  if (valid(exec, HandleKind::exec)) release(exec);
}

mill_status mill_exec_get_context(mill_exec* exec, mill_context** out_context, mill_error* err) {
  return guard("mill_exec_get_context", err, [&] {
    clear_out(out_context, 1, "out_context");
    mill_exec& e = need(exec, 0, "exec");
    check_fork(*e.context);
    *out_context = Ref<mill_context>(e.context).release();
  });
}

mill_status mill_exec_set_tape(mill_exec* exec, mill_tape* tape, mill_error* err) {
  return guard("mill_exec_set_tape", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    mill_tape* t = maybe(tape, 1, "tape");
    const ExecGuard entered(e);
    if (t && t->context.get() != e.context.get()) {
      fail_argument(MILL_E_DEVICE, 1, "the tape belongs to another context than the exec");
    }
    e.set_recorder(t ? &t->face : nullptr);
  });
}

mill_status mill_exec_get_tape(mill_exec* exec, mill_tape** out_tape, mill_error* err) {
  return guard("mill_exec_get_tape", err, [&] {
    clear_out(out_tape, 1, "out_tape");
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    if (!e.recorder) return;
    e.recorder->retain_recorder();
    *out_tape = static_cast<mill_tape*>(e.recorder->handle());
  });
}

mill_status mill_exec_set_generator(mill_exec* exec, mill_generator* generator, mill_error* err) {
  return guard("mill_exec_set_generator", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    mill_generator* g = maybe(generator, 1, "generator");
    const ExecGuard entered(e);
    if (g) check_same_device(e, *g->state, 1, "generator");
    e.generator = Ref<mill_generator>::share(g);
  });
}

mill_status mill_exec_set_tag(mill_exec* exec, const char* tag, mill_error* err) {
  return guard("mill_exec_set_tag", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    if (tag) need_utf8(tag, 1, "tag");
    e.tag = e.context->tag(tag);
  });
}

mill_status mill_exec_set_order(mill_exec* exec, int32_t order, mill_error* err) {
  return guard("mill_exec_set_order", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    if (order != MILL_ORDER_AUTO && order != MILL_ORDER_MANUAL) {
      fail_argument(MILL_E_ARG, 1, "order is %d, it must be 0 (automatic) or 1 (manual)", order);
    }
    e.order = order;
  });
}

mill_status mill_exec_set_staging(mill_exec* exec, uint64_t bytes, mill_error* err) {
  return guard("mill_exec_set_staging", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    constexpr uint64_t kLeast = 4096;
    if (bytes != 0 && bytes < kLeast) {
      fail_argument(MILL_E_ARG, 1, "bytes is %llu, it must be 0 or at least %llu",
                    static_cast<unsigned long long>(bytes),
                    static_cast<unsigned long long>(kLeast));
    }
    // On a device that has no pinned memory there is nothing to gain.
    if (bytes == 0 || e.device.runs_inline() || !e.device.has_pinned()) {
      e.staging.reset();
      return;
    }
    constexpr uint64_t kSlots = StagingRing::kSlots;
    if (e.staging && e.staging->bytes() == bytes / kSlots * kSlots) return;
    auto ring = std::make_unique<StagingRing>(e.device, bytes, e.stream_id(), e.tag);
    e.stream->wait();  // memory of the pool may still be the target of a copy in this stream
    e.staging = std::move(ring);
  });
}

mill_status mill_exec_set_late_reads(mill_exec* exec, uint32_t steps, mill_error* err) {
  return guard("mill_exec_set_late_reads", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    if (steps > LateReads::kMostSteps) {
      fail_argument(MILL_E_ARG, 1, "steps is %u, it must be at most %u", steps,
                    LateReads::kMostSteps);
    }
    e.late_reads =
        steps == 0 || e.device.runs_inline() ? nullptr : std::make_unique<LateReads>(steps);
  });
}

mill_status mill_exec_set_deterministic(mill_exec* exec, mill_bool on, mill_error* err) {
  return guard("mill_exec_set_deterministic", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    e.set_deterministic(on != 0);
  });
}

mill_status mill_exec_set_autocast(mill_exec* exec, mill_dtype dtype, mill_error* err) {
  return guard("mill_exec_set_autocast", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    if (dtype != MILL_DTYPE_NONE && !is_dtype(dtype)) {
      fail_argument(MILL_E_ARG, 1, "dtype is %d, dtypes are 1 to %d, and 0 turns autocast off",
                    dtype, MILL_DTYPE_COUNT - 1);
    }
    if (dtype != MILL_DTYPE_NONE && dtype != MILL_F16 && dtype != MILL_BF16) {
      fail_argument(MILL_E_DTYPE, 1, "dtype is %s, autocast is to f16 or bf16", dtype_name(dtype));
    }
    e.autocast = dtype;
  });
}

mill_status mill_exec_wait(mill_exec* exec, mill_error* err) {
  return guard("mill_exec_wait", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    check_fork(*e.context);
    const WaitRecord waiting(e.device, MILL_RECORD_SYNC_STREAM, &e, e.stream->id);
    e.stream->wait();
    if (e.device.has_retired()) run_deleters(e.device);
  });
}

mill_status mill_scope_begin(mill_exec* exec, mill_error* err) {
  return guard("mill_scope_begin", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    e.begin_scope();
  });
}

mill_status mill_scope_keep(mill_exec* exec, mill_tensor* tensor, mill_error* err) {
  return guard("mill_scope_keep", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    mill_tensor& t = need(tensor, 1, "tensor");
    const ExecGuard entered(e);
    e.keep(&t);
  });
}

mill_status mill_scope_end(mill_exec* exec, mill_error* err) {
  return guard("mill_scope_end", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    e.end_scope();
  });
}
