#include "profiler/session/record_store.h"

#include <errno.h>

#include <algorithm>
#include <utility>

namespace mill::prof {

namespace {

constexpr uint32_t kMostDepth = 256;

}  // namespace

RecordStore::RecordStore(RecordNames& names, uint64_t limit_bytes)
    : names_(names), half_(limit_bytes / 2) {
  base_.source = program_invocation_short_name;
  base_.dialect = "millrace";
  ids_.backward = base_.strings.intern("backward");
}

void RecordStore::set_clock(uint16_t clock) {
  clock_ = clock;
  // What the session counted itself is no loss.
  for (const Half* half : {&older_, &younger_})
    other_clock_ += half->size() - half->rows.counters.size();
  older_.clear();
  younger_.clear();
  open_ranges_.clear();
  open_steps_.clear();
  last_ = 0;
  swapped_ = kept_from_ = INT64_MIN;
}

uint32_t RecordStore::thread(uint32_t number) {
  const uint32_t known = ids_.thread(number);
  if (known != kNoRow) return known;
  base_.threads.push_back({0, number, names_.thread_name(number)});
  const auto index = static_cast<uint32_t>(base_.threads.size() - 1);
  ids_.threads.emplace(number, index);
  return index;
}

uint32_t RecordStore::stream(uint32_t device, uint64_t number) {
  const uint64_t key = uint64_t{device} << 48 ^ number;
  const auto found = streams_.find(key);
  if (found != streams_.end()) return found->second;
  base_.streams.push_back({device, number, {}, false});
  const auto index = static_cast<uint32_t>(base_.streams.size() - 1);
  streams_.emplace(key, index);
  return index;
}

uint32_t RecordStore::engine_text(uint32_t id) {
  if (id == 0) return 0;
  if (id >= ids_.engine_texts.size()) ids_.engine_texts.resize(size_t{id} + 64, kNoRow);
  if (ids_.engine_texts[id] == kNoRow)
    ids_.engine_texts[id] = base_.strings.intern(names_.engine_text(id));
  return ids_.engine_texts[id];
}

uint32_t RecordStore::op_name(int32_t op) {
  const auto small = static_cast<uint32_t>(op);
  if (small < ids_.builtin_names.size()) {
    uint32_t& name = ids_.builtin_names[small];
    if (name == 0) name = base_.strings.intern(names_.op_name(op));
    return name;
  }
  const auto found = ids_.op_names.find(op);
  if (found != ids_.op_names.end()) return found->second;
  const uint32_t id = base_.strings.intern(names_.op_name(op));
  ids_.op_names.emplace(op, id);
  return id;
}

uint32_t RecordStore::kernel_name(const char* name) {
  if (!name) return 0;
  const auto found = kernel_names_.find(name);
  if (found != kernel_names_.end()) return found->second;
  const uint32_t id = base_.strings.intern(name);
  kernel_names_.emplace(name, id);
  return id;
}

void RecordStore::make_room() {
  if (++unchecked_ < 1024) return;
  unchecked_ = 0;
  if (younger_.bytes() < half_) return;
  forgotten_ += older_.size();
  kept_from_ = std::exchange(swapped_, last_);
  std::swap(older_, younger_);
  younger_.clear();
}

void RecordStore::add(const mill_trace_record& record) {
  if (record.clock != clock_) {
    ++other_clock_;
    return;
  }
  make_room();
  last_ = std::max(last_, record_ns(record.start_ns + record.duration_ns));
  switch (record.kind) {
    case MILL_RECORD_OP:
    case MILL_RECORD_BACKWARD:
    case MILL_RECORD_COPY:
    case MILL_RECORD_ALLOC:
    case MILL_RECORD_FREE:
    case MILL_RECORD_SYNC:
    case MILL_RECORD_LOADER:
      // A thread may be gone, and with it its name, when the record becomes a row.
      thread(record.thread);
      engine_text(record.scope);
      if (record.kind == MILL_RECORD_OP) op_name(record.op);
      younger_.records.add(record);
      break;
    case MILL_RECORD_STEP: add_step(record); break;
    case MILL_RECORD_SCOPE_BEGIN:
    case MILL_RECORD_SCOPE_END:
    case MILL_RECORD_MARK: add_range(record); break;
    default: break;
  }
  ++records_;
}

// Of an exec a record is a step; of a session (no exec) it is where one step ends and the next
// begins.
void RecordStore::add_step(const mill_trace_record& record) {
  Ns start = record_ns(record.start_ns);
  Ns end = record_ns(record.start_ns + record.duration_ns);
  auto number = static_cast<int64_t>(record.step);
  if (record.exec_id == 0) {
    const auto [open, first] = open_steps_.try_emplace(record.thread, start, 0);
    const std::pair<Ns, int64_t> before = open->second;
    open->second = {start, first ? 0 : before.second + 1};
    if (first) return;
    end = start;
    start = before.first;
    number = before.second;
  }
  MarkedSteps& rows = younger_.rows.marked_steps;
  const uint32_t row = rows.add();
  rows.start[row] = start;
  rows.end[row] = end;
  rows.number[row] = number;
  rows.thread[row] = thread(record.thread);
  rows.exec[row] = record.exec_id;
  rows.loader_wait[row] = record_ns(record.wait_ns);
}

void RecordStore::add_range(const mill_trace_record& record) {
  Ns start = record_ns(record.start_ns);
  const Ns end = record_ns(record.start_ns + record.duration_ns);
  uint32_t name = 0;
  RangeKind kind = RangeKind::scope;
  if (record.kind == MILL_RECORD_MARK) {
    name = engine_text(record.detail);
    kind = RangeKind::mark;
  } else if (record.exec_id == 0) {
    auto& [open, deeper] = open_ranges_[record.thread];
    if (record.kind == MILL_RECORD_SCOPE_BEGIN) {
      if (open.size() < kMostDepth) {
        open.push_back({start, engine_text(record.detail)});
      } else {
        ++deeper;
      }
      return;
    }
    if (deeper > 0) {
      --deeper;
      return;
    }
    if (open.empty()) return;
    start = open.back().start;
    name = open.back().name;
    kind = RangeKind::user;
    open.pop_back();
  } else if (record.kind == MILL_RECORD_SCOPE_BEGIN) {
    return;  // its end says all
  } else {
    name = engine_text(record.scope);
  }
  Ranges& rows = younger_.rows.ranges;
  const uint32_t row = rows.add();
  rows.start[row] = start;
  rows.end[row] = end;
  rows.thread[row] = thread(record.thread);
  rows.name[row] = name;
  rows.kind[row] = static_cast<uint8_t>(kind);
}

void RecordStore::add_call(uint32_t device, const mill_timeline_record& record) {
  Calls& calls = younger_.rows.calls;
  const uint32_t row = calls.add_one_of_many();
  const uint32_t kind = std::min(record.call, static_cast<uint32_t>(CallKind::host_function));
  calls.start[row] = record.start_ns;
  calls.end[row] = record.end_ns;
  calls.thread[row] = thread(record.thread);
  calls.kind[row] = static_cast<uint8_t>(kind);
  uint32_t& name = call_names_[kind];
  if (name == 0) name = base_.strings.intern(code_text("calls", "kind", kind));
  calls.name[row] = name;
  // The engine only asks for copies in their asynchronous form; whether they are is seen in time.
  if (kind == MILL_CALL_COPY || kind == MILL_CALL_FILL) calls.flags[row] |= kAsyncForm;
  if (kind >= MILL_CALL_SYNC_EVENT && kind <= MILL_CALL_SYNC_DEVICE) calls.flags[row] |= kBlocking;
  calls.device[row] = device;
  if (record.stream != 0) calls.stream[row] = stream(device, record.stream);
  calls.correlation[row] = record.correlation;
  calls.waits_for[row] = record.waits_for;
  calls.instance[row] = record.instance;
  calls.bytes[row] = record.bytes;
}

void RecordStore::add(uint32_t device, const mill_timeline_record& record) {
  make_room();
  ++records_;
  last_ = std::max(last_, record.end_ns);
  if (record.kind == MILL_TIMELINE_CALL) {
    add_call(device, record);
    return;
  }
  Work& work = younger_.rows.work;
  const uint32_t row = work.add_one_of_many();
  work.start[row] = record.start_ns;
  work.end[row] = record.end_ns;
  work.submit[row] = record.submit_ns;
  work.ready[row] = record.ready_ns;
  work.device[row] = device;
  work.stream[row] = stream(device, record.stream);
  work.name[row] = kernel_name(record.name);
  work.kind[row] = static_cast<uint8_t>(std::min(record.kind, 4u));
  work.copy_kind[row] = static_cast<uint8_t>(std::min(record.copy_kind, 5u));
  work.host_memory[row] = static_cast<uint8_t>(std::min(record.host_memory, 4u));
  work.bytes[row] = record.bytes;
  work.flops[row] = record.flops;
  work.correlation[row] = record.correlation;
  work.instance[row] = record.instance;
}

void RecordStore::count(const char* counter, uint32_t device, Ns time, double value) {
  make_room();
  ++records_;
  Counters& rows = younger_.rows.counters;
  const uint32_t row = rows.add();
  rows.time[row] = time;
  rows.name[row] = base_.strings.intern(counter);
  rows.device[row] = device;
  rows.value[row] = value;
}

RecordCopy RecordStore::copy(uint64_t lost) const {
  RecordCopy out;
  out.ids_ = ids_;
  out.records_ = {older_.records.view(), younger_.records.view()};
  Trace& rows = out.rows_;
  rows = base_;
  for (const Half* half : {&older_, &younger_}) {
    rows.calls.append(half->rows.calls);
    rows.work.append(half->rows.work);
    rows.marked_steps.append(half->rows.marked_steps);
    rows.ranges.append(half->rows.ranges);
    rows.counters.append(half->rows.counters);
  }
  rows.other_clock = other_clock_;
  if (lost > 0) rows.losses.push_back({"rings", lost});
  if (forgotten_ > 0) rows.losses.push_back({"store", forgotten_});
  return out;
}

}  // namespace mill::prof
