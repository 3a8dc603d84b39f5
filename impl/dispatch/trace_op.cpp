#include "dispatch/trace_op.h"

namespace mill {

namespace {

uint64_t number(mill_context& context, std::atomic<uint64_t>& id) {
  uint64_t have = id.load(std::memory_order_relaxed);
  if (have != 0) return have;
  const uint64_t next = context.next_id.fetch_add(1, std::memory_order_relaxed);
  // Two threads may meet the same tensor for the first time at once: the first number stays.
  return id.compare_exchange_strong(have, next, std::memory_order_relaxed) ? next : have;
}

}  // namespace

uint64_t trace_id(mill_context& context, Storage& storage) {
  Block* const block = storage.block;
  if (!block) return number(context, storage.trace_id);
  uint64_t named = block->trace_id.load(std::memory_order_relaxed);
  if (named == 0) {
    named = number(context, storage.trace_id);
    block->trace_id.store(named, std::memory_order_relaxed);  // its free will be told by this name
  }
  return named;
}

uint64_t trace_id(mill_context& context, mill_tensor& tensor) {
  return number(context, tensor.trace_id);
}

OpFacts op_facts(const OpCall& call, mill_tensor* const* out) {
  OpFacts facts;
  mill_context& context = *call.exec.context;
  int32_t dtypes[4] = {};
  uint64_t elements = 0;
  for (uint32_t k = 0; k < call.n_out; ++k) {
    if (!out[k]) continue;
    if (call.row.kind != OpKind::view) facts.bytes += out[k]->bytes();
    elements += static_cast<uint64_t>(out[k]->numel());
  }
  for (uint32_t k = 0; k < call.n_in; ++k) {
    if (!call.in[k]) continue;
    if (call.row.kind != OpKind::view) facts.bytes += call.in[k]->bytes();
    if (k < 3) dtypes[k + 1] = call.in[k]->dtype();
  }
  if (call.n_out > 0 && out[0]) {
    mill_tensor& first = *out[0];
    facts.tensor = number(context, first.trace_id);
    facts.storage = trace_id(context, *first.storage);
    facts.tensor_version =
        static_cast<uint32_t>(first.storage->version.load(std::memory_order_relaxed));
    dtypes[0] = first.dtype();
  }
  facts.dtypes = pack_bytes(dtypes[0], dtypes[1], dtypes[2], dtypes[3]);
  const OpRules* rules = call.row.rules;
  if (rules && rules->flops) {
    facts.flops = rules->flops(call);
  } else if (call.row.kind == OpKind::pointwise) {
    facts.flops = elements;
  }
  return facts;
}

WaitRecord::WaitRecord(const Device& device, int32_t detail, const mill_exec* exec, uint64_t stream)
    : tracer_(static_cast<mill_context*>(device.owner())->tracer),
      time_(device.trace_time(tracer_)),
      on_((tracer_.mask() & MILL_TRACE_SYNCS) != 0) {
  if (!on_) return;
  record_.kind = MILL_RECORD_SYNC;
  record_.detail = static_cast<uint32_t>(detail);
  record_.stream = static_cast<uint32_t>(stream);
  if (exec) record_.exec_id = exec->trace.id();
  record_.clock = time_.clock();
  record_.start_ns = time_.now();
}

WaitRecord::~WaitRecord() {
  if (!on_) return;
  record_.duration_ns = record_.wait_ns = time_.now() - record_.start_ns;
  tracer_.record_shared(record_);
}

}  // namespace mill
