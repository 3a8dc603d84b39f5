#include "profiler/session/record_store.h"

#include <algorithm>
#include <utility>

namespace mill::prof {

namespace {

constexpr uint32_t kMostDepth = 256;

Ns ns(uint64_t value) {
  return static_cast<Ns>(std::min<uint64_t>(value, INT64_MAX / 2));
}

uint32_t byte(uint32_t packed, int k) {
  return packed >> (8 * k) & 0xffu;
}

}  // namespace

RecordStore::RecordStore(RecordNames& names, uint64_t limit_bytes)
    : names_(names), half_(limit_bytes / 2) {
  base_.source = "session";
  base_.dialect = "millrace";
}

void RecordStore::set_clock(uint16_t clock) {
  clock_ = clock;
  other_clock_ += older_.rows() + younger_.rows();
  for (Trace* half : {&older_, &younger_})
    for_each_table(*half, [](const char*, auto& table) { table.clear(); });
  open_ranges_.clear();
  open_steps_.clear();
  last_ = 0;
  swapped_ = kept_from_ = INT64_MIN;
}

uint32_t RecordStore::thread(uint32_t number) {
  const auto found = threads_.find(number);
  if (found != threads_.end()) return found->second;
  base_.threads.push_back({0, number, names_.thread_name(number)});
  const auto index = static_cast<uint32_t>(base_.threads.size() - 1);
  threads_.emplace(number, index);
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
  if (id >= engine_texts_.size()) engine_texts_.resize(size_t{id} + 64, kNoRow);
  if (engine_texts_[id] == kNoRow) engine_texts_[id] = base_.strings.intern(names_.engine_text(id));
  return engine_texts_[id];
}

uint32_t RecordStore::op_name(int32_t op) {
  const auto found = op_names_.find(op);
  if (found != op_names_.end()) return found->second;
  const uint32_t id = base_.strings.intern(names_.op_name(op));
  op_names_.emplace(op, id);
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
  ++records_;
  if (++unchecked_ < 1024) return;
  unchecked_ = 0;
  if (younger_.bytes() < half_) return;
  forgotten_ += older_.rows();
  kept_from_ = std::exchange(swapped_, last_);
  std::swap(older_, younger_);
  for_each_table(younger_, [](const char*, auto& table) { table.clear(); });
}

void RecordStore::add(const mill_trace_record& record) {
  if (record.clock != clock_) {
    ++other_clock_;
    return;
  }
  make_room();
  last_ = std::max(last_, ns(record.start_ns + record.duration_ns));
  switch (record.kind) {
    case MILL_RECORD_OP:
    case MILL_RECORD_BACKWARD: add_op(record); break;
    case MILL_RECORD_COPY: add_copy(record); break;
    case MILL_RECORD_ALLOC:
    case MILL_RECORD_FREE: add_allocation(record); break;
    case MILL_RECORD_SYNC: add_sync(record); break;
    case MILL_RECORD_LOADER: add_loader(record); break;
    case MILL_RECORD_STEP: add_step(record); break;
    case MILL_RECORD_SCOPE_BEGIN:
    case MILL_RECORD_SCOPE_END:
    case MILL_RECORD_MARK: add_range(record); break;
    default: break;
  }
}

void RecordStore::add_op(const mill_trace_record& record) {
  Ops& ops = younger_.ops;
  const uint32_t row = ops.add();
  const bool backward = record.kind == MILL_RECORD_BACKWARD;
  ops.start[row] = ns(record.start_ns);
  ops.end[row] = ns(record.start_ns + record.duration_ns);
  ops.thread[row] = thread(record.thread);
  ops.name[row] = backward ? base_.strings.intern("backward") : op_name(record.op);
  ops.kind[row] = static_cast<uint8_t>(backward ? OpKind::backward_pass : OpKind::op);
  ops.number[row] = record.op;
  const uint32_t device = byte(record.memory, 2);
  if (device < base_.devices.size()) ops.device[row] = device;
  if (!backward) ops.instance[row] = record.instance;
  ops.forward[row] = record.forward;
  ops.bytes[row] = record.bytes;
  ops.flops[row] = record.flops;
  ops.tensor[row] = record.tensor;
  ops.tensor_version[row] = record.tensor_version;
  ops.storage[row] = record.storage;
  ops.dtypes[row] = record.dtypes;
  ops.exec[row] = record.exec_id;
  ops.scope[row] = engine_text(record.scope);
  ops.step[row] = static_cast<int64_t>(record.step);
  ops.status[row] = record.status;
}

void RecordStore::add_copy(const mill_trace_record& record) {
  Copies& copies = younger_.copies;
  const uint32_t row = copies.add();
  copies.start[row] = ns(record.start_ns);
  copies.end[row] = ns(record.start_ns + record.duration_ns);
  copies.thread[row] = thread(record.thread);
  copies.from[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  copies.to[row] = static_cast<uint8_t>(std::min(byte(record.memory, 1), 4u));
  if (record.detail == MILL_RECORD_COPY_BLOCKING) copies.flags[row] |= kBlocking;
  if (byte(record.memory, 2) < base_.devices.size())
    copies.from_device[row] = byte(record.memory, 2);
  if (byte(record.memory, 3) < base_.devices.size()) copies.to_device[row] = byte(record.memory, 3);
  copies.bytes[row] = record.bytes;
  copies.tensor[row] = record.tensor;
  copies.tensor_version[row] = record.tensor_version;
  copies.storage[row] = record.storage;
  copies.source[row] = record.forward;
  copies.source_offset[row] = record.forward != 0 ? record.flops : 0;
  copies.instance[row] = record.instance;
  copies.exec[row] = record.exec_id;
  copies.scope[row] = engine_text(record.scope);
  copies.step[row] = static_cast<int64_t>(record.step);
  copies.status[row] = record.status;
}

void RecordStore::add_allocation(const mill_trace_record& record) {
  Allocations& rows = younger_.allocations;
  const uint32_t row = rows.add();
  const bool frees = record.kind == MILL_RECORD_FREE;
  rows.start[row] = ns(record.start_ns);
  rows.end[row] = ns(record.start_ns + record.duration_ns);
  rows.thread[row] = thread(record.thread);
  rows.kind[row] = static_cast<uint8_t>(frees ? AllocKind::free : AllocKind::allocate);
  if (!frees) rows.how[row] = static_cast<uint8_t>(std::min(record.detail, 3u));
  rows.memory[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  if (byte(record.memory, 2) < base_.devices.size()) rows.device[row] = byte(record.memory, 2);
  rows.bytes[row] = record.bytes;
  rows.storage[row] = record.storage;
  rows.instance[row] = record.instance;
  rows.number[row] = record.op;
  rows.scope[row] = engine_text(record.scope);
  rows.step[row] = static_cast<int64_t>(record.step);
}

void RecordStore::add_sync(const mill_trace_record& record) {
  Syncs& rows = younger_.syncs;
  const uint32_t row = rows.add();
  rows.start[row] = ns(record.start_ns);
  rows.end[row] = ns(record.start_ns + record.duration_ns);
  rows.thread[row] = thread(record.thread);
  const uint32_t kind = std::min(record.detail, 4u);
  rows.kind[row] = static_cast<uint8_t>(kind);
  rows.tensor[row] = record.tensor;
  rows.storage[row] = record.storage;
  rows.bytes[row] = record.bytes;
  rows.instance[row] = record.instance;
  rows.exec[row] = record.exec_id;
  rows.scope[row] = engine_text(record.scope);
  rows.step[row] = static_cast<int64_t>(record.step);
}

void RecordStore::add_loader(const mill_trace_record& record) {
  Loader& rows = younger_.loader;
  const uint32_t row = rows.add();
  rows.start[row] = ns(record.start_ns);
  rows.end[row] = ns(record.start_ns + record.duration_ns);
  rows.wait[row] = ns(record.wait_ns);
  rows.thread[row] = thread(record.thread);
  rows.kind[row] = static_cast<uint8_t>(std::min(record.detail, 2u));
  rows.bytes[row] = record.bytes;
  rows.from[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  rows.to[row] = static_cast<uint8_t>(std::min(byte(record.memory, 1), 4u));
  rows.exec[row] = record.exec_id;
  rows.step[row] = static_cast<int64_t>(record.step);
}

// Of an exec a record is a step; of a session (no exec) it is where one step ends and the next
// begins.
void RecordStore::add_step(const mill_trace_record& record) {
  Ns start = ns(record.start_ns);
  Ns end = ns(record.start_ns + record.duration_ns);
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
  MarkedSteps& rows = younger_.marked_steps;
  const uint32_t row = rows.add();
  rows.start[row] = start;
  rows.end[row] = end;
  rows.number[row] = number;
  rows.thread[row] = thread(record.thread);
  rows.exec[row] = record.exec_id;
  rows.loader_wait[row] = ns(record.wait_ns);
}

void RecordStore::add_range(const mill_trace_record& record) {
  Ns start = ns(record.start_ns);
  const Ns end = ns(record.start_ns + record.duration_ns);
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
  Ranges& rows = younger_.ranges;
  const uint32_t row = rows.add();
  rows.start[row] = start;
  rows.end[row] = end;
  rows.thread[row] = thread(record.thread);
  rows.name[row] = name;
  rows.kind[row] = static_cast<uint8_t>(kind);
}

void RecordStore::add_call(uint32_t device, const mill_timeline_record& record) {
  Calls& calls = younger_.calls;
  const uint32_t row = calls.add();
  const uint32_t kind = std::min(record.call, static_cast<uint32_t>(CallKind::host_function));
  calls.start[row] = record.start_ns;
  calls.end[row] = record.end_ns;
  calls.thread[row] = thread(record.thread);
  calls.kind[row] = static_cast<uint8_t>(kind);
  calls.name[row] = base_.strings.intern(code_text("calls", "kind", kind));
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
  last_ = std::max(last_, record.end_ns);
  if (record.kind == MILL_TIMELINE_CALL) {
    add_call(device, record);
    return;
  }
  Work& work = younger_.work;
  const uint32_t row = work.add();
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
  Counters& rows = younger_.counters;
  const uint32_t row = rows.add();
  rows.time[row] = time;
  rows.name[row] = base_.strings.intern(counter);
  rows.device[row] = device;
  rows.value[row] = value;
}

Trace RecordStore::copy(uint64_t lost) const {
  Trace out = base_;
  std::vector<const void*> young;
  for_each_table(younger_, [&](const char*, const auto& table) { young.push_back(&table); });
  std::vector<const void*> old;
  for_each_table(older_, [&](const char*, const auto& table) { old.push_back(&table); });
  size_t k = 0;
  for_each_table(out, [&](const char*, auto& table) {
    using T = std::remove_reference_t<decltype(table)>;
    table.reserve(static_cast<const T*>(old[k])->size() + static_cast<const T*>(young[k])->size());
    table.append(*static_cast<const T*>(old[k]));
    table.append(*static_cast<const T*>(young[k]));
    ++k;
  });
  out.other_clock = other_clock_;
  if (lost > 0) out.losses.push_back({"rings", lost});
  if (forgotten_ > 0) out.losses.push_back({"store", forgotten_});
  return out;
}

}  // namespace mill::prof
