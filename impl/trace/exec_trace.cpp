#include "trace/exec_trace.h"

#include <cstring>

#include "base/error.h"

namespace mill {

namespace {
thread_local constinit ExecTrace* t_current = nullptr;
}

ExecTrace* ExecTrace::current() noexcept {
  return t_current;
}
ExecTrace* ExecTrace::set_current(ExecTrace* trace) noexcept {
  ExecTrace* const before = t_current;
  t_current = trace;
  return before;
}

mill_trace_record ExecTrace::begin(int32_t kind) const {
  mill_trace_record record{};
  record.kind = kind;
  record.start_ns = now();
  return record;
}

void ExecTrace::end(mill_trace_record& record) {
  record.duration_ns = now() - record.start_ns;
  this->record(record);
}

void ExecTrace::record(const mill_trace_record& record) {
  if (step_start_ == 0) step_start_ = record.start_ns;
  if (record.kind == MILL_RECORD_LOADER) step_wait_ += record.wait_ns;
  Ring<mill_trace_record>* ring = lane_->ring.load(std::memory_order_acquire);
  if (ring == nullptr) return;
  mill_trace_record* slot = ring->claim();
  if (slot == nullptr) return;
  *slot = record;
  if (slot->memory == 0) slot->memory = pack_bytes(0, 0, static_cast<int32_t>(device_));
  stamp(*slot);
  if (record.instance == 0 && record.op == 0) {
    slot->instance = instance_;
    slot->op = op_;
  }
  ring->commit();
}

void ExecTrace::scope_begin(std::string_view name) {
  if (name.empty()) fail_argument(MILL_E_ARG, 1, "a trace scope needs a name, got 0 bytes");
  if (depth_ == kMaxDepth)
    fail(MILL_E_STATE, "trace scope depth is %u, the limit is %u", depth_, kMaxDepth);
  const std::size_t separator = path_length_ == 0 ? 0 : 1;
  const std::size_t length = path_length_ + separator + name.size();
  if (name.size() > path_.size() || length > path_.size()) {
    fail_argument(MILL_E_ARG, 1, "the path of a trace scope would have %zu bytes, the limit is %zu",
                  length, path_.size());
  }
  char* end = path_.data() + path_length_;
  if (separator != 0) *end++ = '/';
  std::memcpy(end, name.data(), name.size());
  const uint32_t id = tracer_.intern({path_.data(), length});

  Scope& scope = scopes_[depth_++];
  scope = {scope_, path_length_, 0, false};
  scope_ = id;
  path_length_ = static_cast<uint32_t>(length);
  const uint64_t mask = tracer_.mask();
  if ((mask & MILL_TRACE_NVTX) != 0) {
    scope.ranged = true;
    const std::string_view path = tracer_.strings().text(id);
    tracer_.nvtx().push(NvtxCategory::none,
                        path.data() + (path.size() == length ? length - name.size() : 0));
  }
  if ((mask & MILL_TRACE_SCOPES) != 0) {
    const mill_trace_record begun = begin(MILL_RECORD_SCOPE_BEGIN);
    scope.start = begun.start_ns;
    record(begun);
  }
}

void ExecTrace::scope_end() {
  if (depth_ == 0) fail(MILL_E_STATE, "no trace scope is open on this exec");
  const Scope scope = scopes_[depth_ - 1];
  if (scope.start != 0 && on(MILL_TRACE_SCOPES)) {
    mill_trace_record ended{};
    ended.kind = MILL_RECORD_SCOPE_END;
    ended.start_ns = scope.start;
    end(ended);
  }
  if (scope.ranged) tracer_.nvtx().pop();
  --depth_;
  scope_ = scope.outer;
  path_length_ = scope.outer_length;
}

void ExecTrace::mark(std::string_view name) {
  if (name.empty()) fail_argument(MILL_E_ARG, 1, "a trace mark needs a name, got 0 bytes");
  const uint64_t mask = tracer_.mask();
  if ((mask & (MILL_TRACE_SCOPES | MILL_TRACE_NVTX)) == 0) return;
  const uint32_t id = tracer_.intern(name);
  if ((mask & MILL_TRACE_NVTX) != 0)
    tracer_.nvtx().mark(NvtxCategory::none, tracer_.strings().text(id).data());
  if ((mask & MILL_TRACE_SCOPES) != 0) {
    mill_trace_record marked = begin(MILL_RECORD_MARK);
    marked.detail = id;
    record(marked);
  }
}

void ExecTrace::step() {
  const uint64_t mask = tracer_.mask();
  if ((mask & MILL_TRACE_NVTX) != 0) tracer_.nvtx().mark(NvtxCategory::step, "step");
  uint64_t ended = 0;
  if ((mask & MILL_TRACE_STEPS) != 0) {
    ended = now();
    if (step_start_ != 0) {
      mill_trace_record record{};
      record.kind = MILL_RECORD_STEP;
      record.start_ns = step_start_;
      record.duration_ns = ended - step_start_;
      record.wait_ns = step_wait_;
      this->record(record);
    }
  }
  ++step_;
  step_start_ = ended;
  step_wait_ = 0;
}

void OpSpan::abandon() {
  OpFacts facts;
  facts.status = MILL_E_INTERNAL;
  finish(facts);
}

}  // namespace mill
