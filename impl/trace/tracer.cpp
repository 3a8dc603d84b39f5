#include "trace/tracer.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace mill {

Tracer::Tracer(const TracerOptions& options)
    : options_(options),
      process_(static_cast<int32_t>(getpid())),
      readers_(static_cast<size_t>(options.ring_records)) {}

uint32_t Tracer::thread_id() const {
  // Keyed by process, because the thread that survives a fork keeps this variable and gets a new
  // id.
  struct Known {
    int32_t process;
    uint32_t thread;
  };
  static thread_local Known known{0, 0};
  if (known.process != process_) [[unlikely]]
    known = {process_, static_cast<uint32_t>(gettid())};
  return known.thread;
}

std::string Tracer::op_name(int32_t op) const {
  const char* name =
      options_.op_name == nullptr ? nullptr : options_.op_name(options_.op_name_self, op);
  return name == nullptr ? "op " + std::to_string(op) : name;
}

void Tracer::arm(TraceLane& lane, uint64_t mask) const {
  if ((mask & MILL_TRACE_RECORDS) != 0 && lane.ring_owner == nullptr) {
    lane.ring_owner = std::make_unique<Ring<mill_trace_record>>(options_.ring_records, &half_full_);
    lane.ring.store(lane.ring_owner.get(), std::memory_order_release);
  }
  if ((mask & (MILL_TRACE_OPS | MILL_TRACE_OP_STATS)) != 0 && lane.ops_owner == nullptr) {
    lane.ops_owner = std::make_unique<OpTable>();
    lane.ops.store(lane.ops_owner.get(), std::memory_order_release);
  }
}

void Tracer::set_mask(uint64_t mask) {
  if ((mask & ~kKnownTraceBits) != 0) {
    fail(MILL_E_ARG, "trace mask %#llx has unknown bits %#llx",
         static_cast<unsigned long long>(mask),
         static_cast<unsigned long long>(mask & ~kKnownTraceBits));
  }
  const std::lock_guard lock(mutex_);
  if (mask != program_mask_ && (session_mask_ != 0 || readers_.due(Reader::program))) settle();
  apply(mask | session_mask_);
  program_mask_ = mask;
  if ((mask & MILL_TRACE_RECORDS) != 0) program_had_ = mask;
  readers_.listen(Reader::program, (mask & MILL_TRACE_RECORDS) != 0);
}

void Tracer::set_session_mask(uint64_t mask) {
  const std::lock_guard lock(mutex_);
  const bool listens = (program_mask_ & MILL_TRACE_RECORDS) != 0;
  const bool begins = session_mask_ == 0 && mask != 0;
  if (begins) {
    // What was recorded up to here is the program's, also where it records no more.
    readers_.forget(Reader::session);
    readers_.listen(Reader::program, program_had_ != 0);
    settle();
  } else if (listens || readers_.due(Reader::session)) {
    settle();
  }
  apply(program_mask_ | mask);
  session_mask_ = mask;
  readers_.listen(Reader::program, listens);
  readers_.listen(Reader::session, mask != 0);
}

void Tracer::apply(uint64_t mask) {
  if ((mask & MILL_TRACE_NVTX) != 0) nvtx_.arm();
  if (mask != 0 && map_.empty()) {
    map_.reserve();
    map_.add(clock_.pair());
  }
  if ((mask & MILL_TRACE_RECORDS) != 0 && shared_owner_ == nullptr) {
    shared_owner_ =
        std::make_unique<SharedRing<mill_trace_record>>(options_.shared_ring_records, &half_full_);
    shared_.store(shared_owner_.get(), std::memory_order_release);
  }
  for (const auto& lane : lanes_) {
    if (!lane->free.load(std::memory_order_relaxed)) arm(*lane, mask);
  }
  armed_ |= mask;
  mask_.store(mask, std::memory_order_release);
}

TraceLane* Tracer::open_lane(uint32_t* exec) {
  const std::lock_guard lock(mutex_);
  TraceLane* lane = nullptr;
  for (const auto& candidate : lanes_) {
    // Acquire: the former exec's thread was the producer up to its release.
    if (candidate->free.load(std::memory_order_acquire)) {
      lane = candidate.get();
      break;
    }
  }
  if (lane == nullptr) {
    auto fresh = std::make_unique<TraceLane>();
    fresh->free.store(true, std::memory_order_relaxed);
    lanes_.push_back(std::move(fresh));
    lane = lanes_.back().get();
  }
  arm(*lane, armed_);
  lane->free.store(false, std::memory_order_relaxed);
  *exec = ++execs_;
  return lane;
}

void Tracer::record_shared(const mill_trace_record& record) {
  SharedRing<mill_trace_record>* ring = shared_.load(std::memory_order_acquire);
  if (ring == nullptr) return;
  mill_trace_record copy = record;
  copy.version = MILL_RECORD_VERSION;
  copy.thread = thread_id();
  ring->push(copy);
}

uint64_t Tracer::dropped() const {
  uint64_t total = shared_owner_ == nullptr ? 0 : shared_owner_->dropped();
  for (const auto& lane : lanes_) {
    if (lane->ring_owner != nullptr) total += lane->ring_owner->dropped();
  }
  return total;
}

// The end is mapped, not the length: then what was nested in ticks is nested in nanoseconds.
void Tracer::to_ns(ClockMap::Cursor& clock, mill_trace_record& record) {
  if (record.clock != 0) return;
  const uint64_t start = record.start_ns;
  record.start_ns = clock.ns(start);
  record.duration_ns = clock.ns(start + record.duration_ns) - record.start_ns;
  if (record.wait_ns != 0) record.wait_ns = clock.span_ns(record.wait_ns, start);
}

// How many records are waiting; from here on no younger ones are taken.
uint64_t Tracer::set_limits() {
  uint64_t waiting = 0;
  shared_limit_ = shared_owner_ == nullptr ? 0 : shared_owner_->limit();
  if (shared_owner_ != nullptr) waiting += shared_owner_->pending(shared_limit_);
  for (const auto& lane : lanes_) {
    if (lane->ring_owner == nullptr) continue;
    lane->limit = lane->ring_owner->limit();
    waiting += lane->ring_owner->pending(lane->limit);
  }
  return waiting;
}

// After set_limits, which gave `waiting`.
size_t Tracer::take(mill_trace_record* out, uint64_t capacity, uint64_t waiting, uint64_t* lost) {
  const uint64_t dropped_now = dropped();
  *lost = dropped_now - reported_lost_;
  reported_lost_ = dropped_now;
  // After the limits, so that no record below them is younger than the pair.
  if (waiting != 0) map_.add(clock_.pair());
  uint64_t taken = 0;
  if (shared_owner_ != nullptr) taken = shared_owner_->pop(out, capacity, shared_limit_);
  const std::size_t lanes = lanes_.size();
  std::size_t last = next_lane_;
  for (std::size_t i = 0; i < lanes && taken < capacity; ++i) {
    last = (next_lane_ + i) % lanes;
    TraceLane& lane = *lanes_[last];
    if (lane.ring_owner != nullptr)
      taken += lane.ring_owner->pop(out + taken, capacity - taken, lane.limit);
  }
  // The lane that filled the buffer comes last next time, so one busy exec cannot starve the
  // others.
  if (taken == capacity && lanes != 0) next_lane_ = (last + 1) % lanes;
  ClockMap::Cursor clock(map_);
  for (uint64_t i = 0; i < taken; ++i) to_ns(clock, out[i]);
  return taken;
}

size_t Tracer::fetch(mill_trace_record* out, size_t capacity, uint64_t* lost) {
  return take(out, capacity, set_limits(), lost);
}

namespace {

uint64_t bit_of(int32_t kind) {
  switch (kind) {
    case MILL_RECORD_OP: return MILL_TRACE_OPS;
    case MILL_RECORD_BACKWARD: return MILL_TRACE_BACKWARD;
    case MILL_RECORD_COPY: return MILL_TRACE_COPIES;
    case MILL_RECORD_ALLOC:
    case MILL_RECORD_FREE: return MILL_TRACE_ALLOCATIONS;
    case MILL_RECORD_SYNC: return MILL_TRACE_SYNCS;
    case MILL_RECORD_LOADER: return MILL_TRACE_LOADER;
    case MILL_RECORD_STEP: return MILL_TRACE_STEPS;
    case MILL_RECORD_SCOPE_BEGIN:
    case MILL_RECORD_SCOPE_END:
    case MILL_RECORD_MARK: return MILL_TRACE_SCOPES;
    default: return MILL_TRACE_RECORDS;
  }
}

}  // namespace

bool Tracer::wants(Reader reader, const mill_trace_record& record) const {
  const bool left = program_mask_ == 0 && session_mask_ == 0;
  const uint64_t mask = reader == Reader::session ? session_mask_
                        : left                    ? program_had_
                                                  : program_mask_;
  return (mask & bit_of(record.kind)) != 0;
}

// What has been recorded up to here belongs to who wanted it then.
void Tracer::settle() {
  readers_.settle(
      [this](mill_trace_record* out, size_t room, uint64_t* lost) {
        return fetch(out, room, lost);
      },
      [this](Reader who, const mill_trace_record& record) { return wants(who, record); });
}

mill_status Tracer::drain(Reader reader, mill_trace_record* out, uint32_t capacity, uint32_t* count,
                          uint64_t* lost) {
  const std::lock_guard lock(mutex_);
  const uint64_t other = reader == Reader::program ? session_mask_ : program_mask_;
  const bool alone = (other & MILL_TRACE_RECORDS) == 0 && !readers_.due(reader);
  uint64_t gone = 0;
  if (capacity == 0) {
    gone = dropped() - reported_lost_ + readers_.lost(reader);
    const uint64_t waiting = set_limits() + readers_.waiting(reader);
    *count = static_cast<uint32_t>(std::min<uint64_t>(waiting, UINT32_MAX));
    if (lost != nullptr) *lost = gone;
    return waiting != 0 ? MILL_INCOMPLETE : gone != 0 ? MILL_LOST : MILL_OK;
  }
  bool more = false;
  uint64_t taken = 0;
  if (alone) {
    const uint64_t waiting = set_limits();
    taken = take(out, capacity, waiting, &gone);
    // Less than capacity: what is left is a shared record that its thread has not finished yet.
    more = taken == capacity && waiting > taken;
  } else {
    taken = readers_.take(
        reader, out, capacity, &gone,
        [this](mill_trace_record* to, size_t room, uint64_t* dropped_before) {
          return fetch(to, room, dropped_before);
        },
        [this](Reader who, const mill_trace_record& record) { return wants(who, record); });
    more = taken == capacity && readers_.waiting(reader) + set_limits() > 0;
  }
  *count = static_cast<uint32_t>(taken);
  if (lost != nullptr) *lost = gone;
  return more ? MILL_INCOMPLETE : gone != 0 ? MILL_LOST : MILL_OK;
}

Tracer::Totals Tracer::sum() const {
  Totals totals{};
  for (const auto& lane : lanes_) {
    if (lane->ops_owner != nullptr) lane->ops_owner->sum_into(totals);
  }
  return totals;
}

std::vector<mill_trace_op_row> Tracer::op_stats() const {
  std::vector<mill_trace_op_row> rows;
  rows.reserve(kOpSlots);
  const std::lock_guard lock(mutex_);
  if (map_.empty()) return rows;
  const TraceClock::Pair first = map_.first();
  const TraceClock::Pair now = clock_.pair();
  const double rate = now.ticks <= first.ticks ? 1.0
                                               : static_cast<double>(now.ns - first.ns) /
                                                     static_cast<double>(now.ticks - first.ticks);
  const Totals totals = sum();
  const Totals& baseline = baseline_ == nullptr ? Totals{} : *baseline_;
  double all = 0;
  for (uint32_t i = 0; i < kOpSlots; ++i) {
    if (totals[i].calls == baseline[i].calls) continue;
    mill_trace_op_row row{};
    row.op = op_of_slot(i);
    row.calls = totals[i].calls - baseline[i].calls;
    row.share = static_cast<double>(totals[i].ticks - baseline[i].ticks) * rate;
    row.time_ns = static_cast<uint64_t>(row.share);
    row.bytes = totals[i].bytes - baseline[i].bytes;
    row.flops = totals[i].flops - baseline[i].flops;
    all += row.share;
    rows.push_back(row);
  }
  for (mill_trace_op_row& row : rows) row.share = all > 0 ? row.share / all : 0;
  std::sort(rows.begin(), rows.end(), [](const mill_trace_op_row& a, const mill_trace_op_row& b) {
    return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.op < b.op;
  });
  return rows;
}

// A baseline instead of zeros: only the exec's own thread may write its totals.
void Tracer::reset_op_stats() {
  auto baseline = std::make_unique<Totals>();
  const std::lock_guard lock(mutex_);
  *baseline = sum();
  baseline_ = std::move(baseline);
}

}  // namespace mill
