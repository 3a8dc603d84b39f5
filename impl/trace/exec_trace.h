// How one exec writes to the trace. One thread at a time, like the exec itself. Nothing here
// allocates, locks or fails once the exec exists, except the first use of a scope's or mark's name.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "trace/trace_time.h"
#include "trace/tracer.h"

namespace mill {

// What makes an op worth two stamps.
constexpr uint64_t kTimedBits = MILL_TRACE_OPS | MILL_TRACE_OP_STATS;

class ExecTrace {
 public:
  static constexpr uint32_t kMaxDepth = 64;

  // The tracer must outlive it. Throws std::bad_alloc.
  explicit ExecTrace(Tracer& tracer) : ExecTrace(tracer, TraceTime(tracer)) {}
  ExecTrace(Tracer& tracer, const TraceTime& time)
      : tracer_(tracer), time_(time), lane_(tracer.open_lane(&id_)) {}
  ~ExecTrace() { Tracer::close_lane(lane_); }
  ExecTrace(const ExecTrace&) = delete;
  ExecTrace& operator=(const ExecTrace&) = delete;

  Tracer& tracer() const { return tracer_; }
  uint32_t id() const { return id_; }
  uint32_t scope() const { return scope_; }
  uint64_t step_number() const { return step_; }
  void set_stream(uint32_t number) { stream_ = number; }
  void set_device(uint32_t number) { device_ = number; }
  // Until it is set back to 0, ops carry this as their forward instance. Backward sets it before
  // each gradient rule.
  void set_forward(uint64_t instance) { forward_ = instance; }
  uint64_t forward() const { return forward_; }

  // Tier 0: one load and one branch.
  bool on(uint64_t bits) const { return (tracer_.mask() & bits) != 0; }
  uint64_t now() const { return time_.now(); }
  // Of a device with modelled time: what now() counts is not what passes.
  bool modelled() const { return time_.clock() != 0; }
  // The op call that is running; 0: none, or ops are not traced.
  uint64_t instance() const { return instance_; }

  // Everything but ops goes: if (trace.on(bit)) { auto r = trace.begin(kind); work; fill r;
  // trace.end(r); }
  mill_trace_record begin(int32_t kind) const;
  void end(mill_trace_record& record);
  // A record whose times (in ticks) and facts are all there. Fills version, exec, thread, scope,
  // stream and step, and the op it happens in unless the record names one.
  void record(const mill_trace_record& record);

  void op_done(int32_t op, uint64_t ticks, uint64_t bytes, uint64_t flops);

  // The exec that this thread is inside of, for what happens below it (allocations). Kept only
  // while somebody said so: NULL otherwise.
  static ExecTrace* current() noexcept;
  static ExecTrace* set_current(ExecTrace* trace) noexcept;  // gives what it was

  // Throw Error as trace.h says; the state is then as before.
  void scope_begin(std::string_view name);
  void scope_end();
  void mark(std::string_view name);
  void step();

 private:
  friend class OpSpan;
  struct Scope {
    uint32_t outer;         // its string id
    uint32_t outer_length;  // of the path
    uint64_t start;         // 0 = opened while scopes were not recorded
    bool ranged;            // an NVTX range was pushed
  };

  void stamp(mill_trace_record& record) const;
  // Unique in the context without an atomic: room for 2^24 execs of 2^40 ops each.
  uint64_t next_instance() { return (static_cast<uint64_t>(id_) << 40) | ++ops_; }

  Tracer& tracer_;
  const TraceTime time_;
  uint32_t id_ = 0;
  uint32_t stream_ = 0;
  uint32_t device_ = 0;
  TraceLane* lane_;
  uint64_t ops_ = 0;
  uint64_t forward_ = 0;
  uint64_t instance_ = 0;  // of the op that is running
  int32_t op_ = 0;
  uint32_t scope_ = 0;
  uint64_t step_ = 0;
  uint64_t step_start_ = 0;  // 0 = nothing was recorded in this step yet
  uint64_t step_wait_ = 0;
  uint32_t depth_ = 0;
  uint32_t path_length_ = 0;
  std::array<Scope, kMaxDepth> scopes_;
  std::array<char, StringTable::kMaxLength> path_;
};

// What the caller of an op knows when it has run.
struct OpFacts {
  uint64_t tensor = 0;
  uint64_t storage = 0;
  uint64_t bytes = 0;
  uint64_t flops = 0;
  uint32_t tensor_version = 0;
  uint32_t dtypes = 0;
  int32_t status = MILL_OK;
};

// Around one op: OpSpan span(trace, op); launch; if (span.on()) span.finish(facts). With an empty
// mask that is an increment and a branch. An op that is left by an exception is recorded with
// status MILL_E_INTERNAL. Ops nest.
class OpSpan {
 public:
  OpSpan(ExecTrace& trace, int32_t op) : trace_(trace), op_(op), instance_(trace.next_instance()) {
    bits_ = trace.tracer_.mask() & kOpTraceBits;
    if (bits_ != 0) [[unlikely]]
      begin();
  }
  ~OpSpan() {
    if (bits_ != 0) [[unlikely]]
      abandon();
  }
  OpSpan(const OpSpan&) = delete;
  OpSpan& operator=(const OpSpan&) = delete;

  bool on() const { return bits_ != 0; }
  // What a tape keeps, so that the backward ops can name it.
  uint64_t instance() const { return instance_; }
  // Once, and only when on().
  void finish(const OpFacts& facts);
  // The op was left with this status.
  void fail(int32_t status) {
    if (!on()) return;
    OpFacts facts;
    facts.status = status;
    finish(facts);
  }

 private:
  void begin();
  void abandon();

  ExecTrace& trace_;
  const int32_t op_;
  int32_t outer_op_ = 0;
  const uint64_t instance_;
  uint64_t outer_instance_ = 0;
  uint64_t bits_;
  uint64_t start_ = 0;
  uint64_t ticks_ = 0;  // where start_ is of a modelled time: totals are of real time
};

// A range for NVTX tools only. Category and text as in nvtx.h.
class NvtxRange {
 public:
  NvtxRange(const ExecTrace& trace, NvtxCategory category, const char* text)
      : nvtx_(trace.on(MILL_TRACE_NVTX) ? &trace.tracer().nvtx() : nullptr) {
    if (nvtx_ != nullptr) [[unlikely]]
      nvtx_->push(category, text);
  }
  ~NvtxRange() {
    if (nvtx_ != nullptr) [[unlikely]]
      nvtx_->pop();
  }
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;

 private:
  const Nvtx* nvtx_;
};

// Packs for mill_trace_record.dtypes and .memory: `first` into byte 0 and so on.
constexpr uint32_t pack_bytes(int32_t first, int32_t second = 0, int32_t third = 0,
                              int32_t fourth = 0) {
  return (static_cast<uint32_t>(first) & 0xffu) | (static_cast<uint32_t>(second) & 0xffu) << 8 |
         (static_cast<uint32_t>(third) & 0xffu) << 16 |
         (static_cast<uint32_t>(fourth) & 0xffu) << 24;
}

// Inline because a call costs as much as the whole record may besides its two stamps.

inline void ExecTrace::stamp(mill_trace_record& record) const {
  record.version = MILL_RECORD_VERSION;
  record.clock = time_.clock();
  record.exec_id = id_;
  record.thread = tracer_.thread_id();
  record.scope = scope_;
  record.stream = stream_;
  record.step = step_;
}

inline void ExecTrace::op_done(int32_t op, uint64_t ticks, uint64_t bytes, uint64_t flops) {
  if (OpTable* table = lane_->ops.load(std::memory_order_acquire))
    table->add(op, ticks, bytes, flops);
}

inline void OpSpan::begin() {
  outer_op_ = trace_.op_;
  outer_instance_ = trace_.instance_;
  trace_.op_ = op_;
  trace_.instance_ = instance_;
  if ((bits_ & MILL_TRACE_NVTX) != 0) trace_.tracer_.nvtx().push_op(trace_.tracer_, op_);
  if ((bits_ & kTimedBits) == 0) return;
  start_ = trace_.now();
  if (trace_.time_.clock() != 0) [[unlikely]]
    ticks_ = trace_.tracer_.now();
  if (trace_.step_start_ == 0) trace_.step_start_ = start_;
}

inline void OpSpan::finish(const OpFacts& facts) {
  const uint64_t bits = bits_;
  const uint64_t length = (bits & kTimedBits) != 0 ? trace_.now() - start_ : 0;
  if ((bits & MILL_TRACE_NVTX) != 0) trace_.tracer_.nvtx().pop();
  trace_.op_ = outer_op_;
  trace_.instance_ = outer_instance_;
  bits_ = 0;
  if ((bits & kTimedBits) != 0) {
    const bool modelled = trace_.time_.clock() != 0;
    trace_.op_done(op_, modelled ? trace_.tracer_.now() - ticks_ : length, facts.bytes,
                   facts.flops);
  }
  if ((bits & MILL_TRACE_OPS) == 0) return;
  Ring<mill_trace_record>* ring = trace_.lane_->ring.load(std::memory_order_acquire);
  if (ring == nullptr) return;
  mill_trace_record* slot = ring->claim();
  if (slot == nullptr) return;
  slot->start_ns = start_;
  slot->duration_ns = length;
  slot->instance = instance_;
  slot->forward = trace_.forward_;
  slot->tensor = facts.tensor;
  slot->storage = facts.storage;
  slot->bytes = facts.bytes;
  slot->flops = facts.flops;
  slot->wait_ns = 0;
  slot->kind = MILL_RECORD_OP;
  slot->op = op_;
  slot->status = facts.status;
  slot->tensor_version = facts.tensor_version;
  slot->dtypes = facts.dtypes;
  slot->memory = pack_bytes(0, 0, static_cast<int32_t>(trace_.device_));
  slot->detail = 0;
  trace_.stamp(*slot);
  ring->commit();
}

}  // namespace mill
