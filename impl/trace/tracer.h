// The trace of one context: mask, rings, string table, totals. Execs write through ExecTrace
// (exec_trace.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/alarm.h"
#include "millrace/trace.h"
#include "trace/clock.h"
#include "trace/nvtx.h"
#include "trace/op_stats.h"
#include "trace/readers.h"
#include "trace/ring.h"
#include "trace/strings.h"

namespace mill {

constexpr uint64_t kKnownTraceBits = MILL_TRACE_RECORDS | MILL_TRACE_OP_STATS | MILL_TRACE_NVTX;
// What makes an op worth a look.
constexpr uint64_t kOpTraceBits = MILL_TRACE_OPS | MILL_TRACE_OP_STATS | MILL_TRACE_NVTX;

static_assert(sizeof(mill_trace_record) == MILL_RECORD_SIZE);
static_assert(sizeof(mill_trace_op_row) == 48);

struct TracerOptions {
  uint64_t ring_records = 65536;         // per exec
  uint64_t shared_ring_records = 65536;  // the ring of releases and callbacks
  // The name of an op, for NVTX and the timeline; it must live as long as the tracer. NULL function
  // or NULL result: "op 7".
  const char* (*op_name)(const void* self, int32_t op) = nullptr;
  const void* op_name_self = nullptr;
};

// What one exec writes into. Lanes are never freed while the tracer lives: when an exec ends, its
// lane, with whatever records and totals are still in it, goes to the next exec. So ending an exec
// takes no lock, nothing is lost, and memory is bounded by the largest number of execs that lived
// at once.
struct TraceLane {
  std::atomic<Ring<mill_trace_record>*> ring{nullptr};  // NULL until a mask needs it
  std::atomic<OpTable*> ops{nullptr};
  std::atomic<bool> free{false};
  std::unique_ptr<Ring<mill_trace_record>> ring_owner;  // the tracer's lock
  std::unique_ptr<OpTable> ops_owner;                   // the tracer's lock
  uint64_t limit = 0;  // of the drain in progress; the tracer's lock
};

// A tracer that was never armed holds no ring, no table and no thread: a context without tracing
// costs one mask. Producers touch the mask, their lane and the shared ring and never the lock, so
// nothing that holds the lock delays them. After fork() the child has a private copy whose lock may
// be held for ever by a thread that does not exist there: the API refuses inherited contexts, and
// neither the tracer nor its destructor may be reached in the child.
//
// Inside the engine the time fields of a record (start_ns, duration_ns, wait_ns) count ticks of
// clock(), unless the record names another clock; drain() turns them into nanoseconds.
class Tracer {
 public:
  explicit Tracer(const TracerOptions& options = {});
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // Acquire, so that whoever sees a bit also sees the rings made for it. Free on x86.
  uint64_t mask() const { return mask_.load(std::memory_order_acquire); }
  // What the program wants, and what a profiler session wants beside it: mask() is both. Throw
  // Error (MILL_E_ARG, MILL_E_UNSUPPORTED), std::bad_alloc; the mask is then as before.
  void set_mask(uint64_t mask);
  void set_session_mask(uint64_t mask);

  const TraceClock& clock() const { return clock_; }
  uint64_t now() const { return clock_.now(); }

  uint32_t intern(std::string_view text) { return strings_.intern(text); }
  const StringTable& strings() const { return strings_; }
  std::string op_name(int32_t op) const;
  const Nvtx& nvtx() const { return nvtx_; }

  // From a release, a callback or a worker: fills version and thread, leaves exec 0. The caller has
  // tested the mask.
  void record_shared(const mill_trace_record& record);

  // MILL_OK, MILL_INCOMPLETE or MILL_LOST as mill_trace_drain says. count is always written, lost
  // if it is not null. While both readers want records, each gets those that its mask asks for; of
  // what the other has drained, as many are kept for it as an exec's ring holds.
  mill_status drain(Reader reader, mill_trace_record* out, uint32_t capacity, uint32_t* count,
                    uint64_t* lost);
  mill_status drain(mill_trace_record* out, uint32_t capacity, uint32_t* count, uint64_t* lost) {
    return drain(Reader::program, out, capacity, count, lost);
  }

  // Rung when a ring is half full: whoever drains may sleep until then.
  Alarm& half_full() { return half_full_; }

  // Rows with calls, most time first.
  std::vector<mill_trace_op_row> op_stats() const;
  void reset_op_stats();

  // The operating system's id of this thread, looked up once per thread.
  uint32_t thread_id() const;

 private:
  friend class ExecTrace;
  using Totals = std::array<OpTotals, kOpSlots>;

  TraceLane* open_lane(uint32_t* exec);
  static void close_lane(TraceLane* lane) noexcept {
    lane->free.store(true, std::memory_order_release);
  }
  void arm(TraceLane& lane, uint64_t mask) const;
  void apply(uint64_t mask);  // under the lock, as all up to sum()
  uint64_t set_limits();
  size_t take(mill_trace_record* out, uint64_t capacity, uint64_t waiting, uint64_t* lost);
  size_t fetch(mill_trace_record* out, size_t capacity, uint64_t* lost);
  bool wants(Reader reader, const mill_trace_record& record) const;
  void settle();
  Totals sum() const;
  uint64_t dropped() const;
  static void to_ns(ClockMap::Cursor& clock, mill_trace_record& record);

  std::atomic<uint64_t> mask_{0};
  std::atomic<SharedRing<mill_trace_record>*> shared_{nullptr};
  const TraceClock clock_;
  const TracerOptions options_;
  const int32_t process_;
  Nvtx nvtx_;
  StringTable strings_;
  mutable Alarm half_full_;  // outlives the rings

  mutable std::mutex mutex_;  // everything below
  std::vector<std::unique_ptr<TraceLane>> lanes_;
  std::unique_ptr<SharedRing<mill_trace_record>> shared_owner_;
  ClockMap map_;
  uint64_t armed_ = 0;  // all bits that were ever set
  uint64_t program_mask_ = 0;
  uint64_t session_mask_ = 0;
  uint64_t program_had_ = 0;  // the last mask with records that the program set: it may drain later
  uint64_t reported_lost_ = 0;
  uint64_t shared_limit_ = 0;  // of the drain in progress
  Readers<mill_trace_record> readers_;
  uint32_t execs_ = 0;
  std::size_t next_lane_ = 0;
  std::unique_ptr<Totals> baseline_;  // what reset_op_stats found
};

}  // namespace mill
