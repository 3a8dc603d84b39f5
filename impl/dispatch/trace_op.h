// What the trace says of an op that has run.
#pragma once

#include "dispatch/exec.h"
#include "dispatch/op_rules.h"
#include "trace/trace_time.h"

namespace mill {

OpFacts op_facts(const OpCall& call, mill_tensor* const* out);
// Numbers for the trace, given on first use.
uint64_t trace_id(mill_context& context, Storage& storage);
uint64_t trace_id(mill_context& context, mill_tensor& tensor);

// A record around a place where the host waits. Any thread may wait, and an exec's own ring has one
// writer: whoever is not inside the exec writes to the shared ring.
class WaitRecord {
 public:
  // For a device. detail: MILL_RECORD_SYNC_...; exec: whose work it is, or NULL.
  WaitRecord(const Device& device, int32_t detail, const mill_exec* exec, uint64_t stream);
  ~WaitRecord();
  WaitRecord(const WaitRecord&) = delete;
  WaitRecord& operator=(const WaitRecord&) = delete;

 private:
  Tracer& tracer_;
  const TraceTime time_;
  const bool on_;
  mill_trace_record record_{};
};

}  // namespace mill
