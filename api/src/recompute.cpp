// Tapes that trade time for memory.
#include "autograd/keeper.h"
#include "autograd/segment.h"
#include "guard.h"
#include "millrace/tape.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

mill_status mill_tape_on_saved(mill_tape* tape, mill_pack_hook pack, mill_unpack_hook unpack,
                               mill_release_hook release, void* user, void (*destroy)(void* user),
                               mill_error* err) {
  bool accepted = false;
  const mill_status status = guard("mill_tape_on_saved", err, [&] {
    mill_tape& t = need(tape, 0, "tape");
    const TapeGuard entered(t);
    t.require_no_pass();
    if (pack && !unpack) fail_argument(MILL_E_ARG, 2, "unpack is NULL, pack is not");
    std::shared_ptr<SavedHooks> hooks;
    if (pack || destroy) {
      hooks = std::make_shared<SavedHooks>();
      hooks->pack = pack;
      hooks->unpack = unpack;
      hooks->release = release;
      hooks->user = user;
    }
    TapeKeeper* keeper = hooks ? &t.need_keeper() : t.keeper.get();
    accepted = true;
    if (hooks) hooks->destroy = destroy;
    if (!keeper) return;
    keeper->packed.hooks = pack ? std::move(hooks) : nullptr;
  });
  if (!accepted && destroy) destroy(user);
  return status;
}

mill_status mill_tape_checkpoint(mill_exec* exec, mill_segment fn, void* user,
                                 void (*destroy)(void* user), mill_tensor* const* inputs,
                                 uint32_t n_inputs, mill_tensor** outputs, uint32_t n_outputs,
                                 mill_error* err) {
  bool accepted = false;
  const mill_status status = guard("mill_tape_checkpoint", err, [&] {
    if (n_outputs == 0 || n_outputs > MILL_MAX_OP_OUTPUTS) {
      fail_argument(MILL_E_ARG, 7, "n_outputs is %u, it must be 1 to %d", n_outputs,
                    MILL_MAX_OP_OUTPUTS);
    }
    need_out(outputs, 6, "outputs");
    for (uint32_t k = 0; k < n_outputs; ++k) outputs[k] = nullptr;
    mill_exec& e = need(exec, 0, "exec");
    if (!fn) fail_argument(MILL_E_ARG, 1, "fn is NULL, it must be a function");
    const ExecGuard entered(e);
    if (n_inputs > MILL_MAX_OP_INPUTS) {
      fail_argument(MILL_E_ARG, 5, "n_inputs is %u, the limit is %d", n_inputs, MILL_MAX_OP_INPUTS);
    }
    if (n_inputs > 0) need_out(inputs, 4, "inputs");
    for (uint32_t k = 0; k < n_inputs; ++k)
      check_same_device(e, need(inputs[k], 4, "inputs"), 4, "inputs");
    auto segment = std::make_unique<TapeSegment>();
    segment->fn = fn;
    segment->user = user;
    segment->destroy = destroy;
    segment->n_inputs = n_inputs;
    segment->n_outputs = n_outputs;
    accepted = true;
    std::vector<TensorRef> made = checkpoint(e, std::move(segment), inputs);
    e.reserve_notes(n_outputs);
    for (uint32_t k = 0; k < n_outputs; ++k) {
      e.note(made[k].get());
      outputs[k] = made[k].release();
    }
  });
  if (!accepted && destroy) destroy(user);
  return status;
}

mill_status mill_tape_set_budget(mill_tape* tape, uint64_t bytes, mill_error* err) {
  return guard("mill_tape_set_budget", err, [&] {
    mill_tape& t = need(tape, 0, "tape");
    const TapeGuard entered(t);
    t.require_no_pass();
    const bool has = t.keeper && t.keeper->budget;
    if (has != (bytes != 0) && !t.nodes.empty()) {
      fail_argument(MILL_E_STATE, 1,
                    "bytes is %llu and the tape holds %zu ops; a budget begins and ends with an "
                    "empty tape",
                    static_cast<unsigned long long>(bytes), t.nodes.size());
    }
    if (bytes == 0) {
      if (has) t.keeper->budget.reset();
      return;
    }
    TapeKeeper& keeper = t.need_keeper();
    if (!has) keeper.budget = std::make_unique<TapeBudget>(t);
    keeper.budget->set_limit(bytes);
  });
}

mill_status mill_tape_plan(mill_tape* tape, mill_tape_plan_row* rows, uint32_t capacity,
                           uint32_t* out_count, mill_tape_plan_summary* summary, mill_error* err) {
  return guard("mill_tape_plan", err, [&]() -> mill_status {
    need_out(out_count, 3, "out_count") = 0;
    mill_tape& t = need(tape, 0, "tape");
    if (capacity > 0 && !rows)
      fail_argument(MILL_E_ARG, 1, "rows is NULL, capacity is %u", capacity);
    const TapeGuard entered(t);
    const TapeBudget* budget = t.keeper ? t.keeper->budget.get() : nullptr;
    const std::vector<TapeBudget::Row> found = budget ? budget->rows() : kept_rows(t);
    if (summary) {
      mill_tape_plan_summary out{};
      if (budget) {
        const TapeBudget::Totals totals = budget->totals();
        out.budget_bytes = budget->limit();
        out.kept_bytes = totals.kept;
        out.kept_peak = totals.peak;
        out.evicted_bytes = totals.evicted;
        out.least_bytes = totals.least;
        out.ops_again = totals.runs;
        out.met = totals.met ? 1 : 0;
      } else {
        for (const TapeBudget::Row& row : found) out.kept_bytes += row.kept;
        out.kept_peak = out.kept_bytes;
        out.met = 1;
      }
      write_struct(summary, MILL_STRUCT_TAPE_PLAN, "summary", 4, out);
    }
    for (size_t k = 0; k < found.size() && k < capacity; ++k) {
      const TapeBudget::Row& row = found[k];
      rows[k] = {t.nodes[row.node].row->number, row.node, row.kept, row.again, row.cost, 0};
    }
    *out_count = static_cast<uint32_t>(found.size());
    return found.size() > capacity ? MILL_INCOMPLETE : MILL_OK;
  });
}
