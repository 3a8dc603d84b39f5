// Rows out of events as Kineto writes them, in its dialects of 2021 and 2023 and on AMD's devices.
#include <algorithm>
#include <limits>
#include <optional>

#include "profiler/import/convert.h"
#include "profiler/import/text.h"

namespace mill::prof {

namespace {

// CUPTI's number for "no stream".
constexpr uint64_t kNoStream32 = UINT32_MAX;

uint32_t clamp32(uint64_t value) {
  return static_cast<uint32_t>(std::min<uint64_t>(value, std::numeric_limits<uint32_t>::max()));
}

// x * y * z of an argument that lists them.
uint32_t product(const Event& event, std::string_view key) {
  const Event::Argument* list = event.find(key);
  if (list == nullptr || list->numbers == 0) return 0;
  uint64_t all = 1;
  for (uint8_t k = 0; k < list->numbers; ++k)
    all = clamp32(all * clamp32(read_unsigned(list->list_values[k]).value_or(0)));
  return clamp32(all);
}

// 0 also for -1, with which writers say that there is none.
uint64_t external_id(const Event& event) {
  const uint64_t id = event.number("External id", "external id");
  return id == UINT64_MAX ? 0 : id;
}

// -1 is how writers say that there is none.
std::optional<uint64_t> device_number(std::string_view text) {
  const auto number = read_unsigned(text);
  if (!number || *number == UINT64_MAX) return std::nullopt;
  return number;
}

std::optional<uint64_t> stream_number(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const auto number = read_unsigned(text);
  if (!number || *number == UINT64_MAX || *number == kNoStream32) return std::nullopt;
  return number;
}

}  // namespace

Converter::Row Converter::add_op(const Event& event, Span span) {
  Ops& ops = trace_.ops;
  const uint32_t row = store_.add(ops);
  if (row == kNoRow) return {};
  ops.start[row] = span.start;
  ops.end[row] = span.end;
  ops.thread[row] = thread_of(event);
  ops.name[row] = store_.string(event.name);
  ops.kind[row] = static_cast<uint8_t>(OpKind::op);
  ops.instance[row] = external_id(event);
  ops.step[row] = -1;
  const std::string_view sequence = event.arg("Sequence number");
  const std::string_view forward = event.arg("Fwd thread id");
  if (!sequence.empty() && !forward.empty() && store_.take(sizeof(Sequence))) {
    if (const auto number = read_unsigned(sequence))
      sequences_.push_back({*number, row, read_unsigned(forward).value_or(0) != 0});
  }
  return {Table::ops, row};
}

Converter::Row Converter::add_range(const Event& event, Span span, RangeKind kind) {
  Ranges& ranges = trace_.ranges;
  const uint32_t row = store_.add(ranges);
  if (row == kNoRow) return {};
  ranges.start[row] = span.start;
  ranges.end[row] = span.end;
  ranges.thread[row] = thread_of(event);
  ranges.name[row] = store_.string(event.name);
  ranges.kind[row] = static_cast<uint8_t>(kind);
  return {Table::ranges, row};
}

Converter::Row Converter::add_loader(const Event& event, Span span) {
  Loader& loader = trace_.loader;
  const uint32_t row = store_.add(loader);
  if (row == kNoRow) return {};
  loader.start[row] = span.start;
  loader.thread[row] = thread_of(event);
  loader.kind[row] = static_cast<uint8_t>(LoaderKind::next);
  loader.step[row] = -1;
  const Row out{Table::loader, row};
  set_end(out, span.end);
  return out;
}

Converter::Row Converter::add_call(const Event& event, Span span) {
  Calls& calls = trace_.calls;
  const uint32_t row = store_.add(calls);
  if (row == kNoRow) return {};
  calls.start[row] = span.start;
  calls.end[row] = span.end;
  calls.thread[row] = thread_of(event);
  const uint32_t name = store_.string(event.name);
  calls.name[row] = name;
  if (name >= call_classes_.size()) call_classes_.resize(size_t{name} + 1);
  auto& [known, is] = call_classes_[name];
  if (!known) {
    is = class_of_call(event.name);
    known = true;
  }
  calls.kind[row] = static_cast<uint8_t>(is.kind);
  calls.flags[row] = is.flags;
  if (const std::string_view device = event.arg("device"); !device.empty()) {
    if (const auto number = device_number(device)) {
      calls.device[row] = store_.device(*number);
      if (const auto stream = stream_number(event.arg("stream")))
        calls.stream[row] = store_.stream(calls.device[row], *stream);
    }
  }
  calls.correlation[row] = event.number("correlation");
  calls.instance[row] = external_id(event);
  calls.bytes[row] = event.size("bytes");
  const Row out{Table::calls, row};
  remember_correlation(event, span, out, calls.correlation[row]);
  return out;
}

Converter::Row Converter::add_work(const Event& event, Span span, EventClass is) {
  Work& work = trace_.work;
  const uint32_t row = store_.add(work);
  if (row == kNoRow) return {};
  work.start[row] = span.start;
  work.end[row] = span.end;
  auto number = device_number(event.arg("device"));
  if (!number) number = device_number(event.pid);
  const uint32_t device = store_.device(number.value_or(0));
  work.device[row] = device;
  std::optional<uint64_t> stream = stream_number(event.arg("stream"));
  if (!stream && event.arg("stream").empty()) {
    stream = stream_number(event.tid);
    if (!stream) stream = stream_in(event.tid);
    if (*stream == UINT64_MAX) stream.reset();
  }
  if (stream) {
    work.stream[row] = store_.stream(device, *stream);
    store_.draw(work.stream[row], {store_.id(event.pid), store_.id(event.tid)});
  }
  work.name[row] = store_.string(event.name);
  work.bytes[row] = event.size("bytes");
  work.correlation[row] = event.number("correlation");
  work.instance[row] = external_id(event);
  work.graph_node[row] = event.number("graph node id", "graph_node_id");
  if (is == EventClass::kernel) {
    work.kind[row] = static_cast<uint8_t>(WorkKind::kernel);
    work.blocks[row] = product(event, "grid");
    work.threads[row] = product(event, "block");
    work.registers[row] = clamp32(event.number("registers per thread"));
    work.shared_bytes[row] = clamp32(event.size("shared memory"));
    const double percent = read_double(event.arg("est. achieved occupancy %")).value_or(0);
    work.occupancy[row] = static_cast<float>(std::clamp(percent / 100, 0.0, 1.0));
  } else if (is == EventClass::copy) {
    work.kind[row] = static_cast<uint8_t>(WorkKind::copy);
    CopyClass copy = class_of_copy(event.name);
    if (copy.kind == CopyKind::unknown) copy = class_of_copy(event.arg("kind"));
    work.copy_kind[row] = static_cast<uint8_t>(copy.kind);
    work.host_memory[row] = static_cast<uint8_t>(copy.host);
    const std::string_view target = event.arg("toDevice", "dstDevice");
    if (copy.kind == CopyKind::peer && !target.empty()) {
      if (const auto peer = device_number(target)) work.peer[row] = store_.device(*peer);
    }
  } else {
    work.kind[row] = static_cast<uint8_t>(WorkKind::fill);
    work.host_memory[row] = static_cast<uint8_t>(memory_of_fill(event.name));
  }
  const Row out{Table::work, row};
  remember_correlation(event, span, out, work.correlation[row]);
  return out;
}

Converter::Row Converter::add_overhead(const Event& event, Span span) {
  Overheads& overheads = trace_.overheads;
  const uint32_t row = store_.add(overheads);
  if (row == kNoRow) return {};
  overheads.start[row] = span.start;
  overheads.end[row] = span.end;
  overheads.thread[row] = thread_of(event);
  overheads.kind[row] = static_cast<uint8_t>(overhead_of(event.name));
  overheads.name[row] = store_.string(event.name);
  if (const std::string_view device = event.arg("device"); !device.empty()) {
    if (const auto number = device_number(device)) overheads.device[row] = store_.device(*number);
  }
  return {Table::overheads, row};
}

void Converter::add_sync(const Event& event) {
  if (!store_.take(sizeof(Sync))) return;
  Sync sync{event.number("correlation"), 0, kNoRow, kNoRow, kNoRow};
  const uint64_t record = event.number("wait_on_cuda_event_record_corr_id");
  if (record != UINT64_MAX && record != kNoStream32) sync.record = record;
  const std::string_view device = event.arg("device");
  if (const auto number = device_number(device)) {
    sync.device = store_.device(*number);
    if (const auto stream = stream_number(event.arg("stream")))
      sync.stream = store_.stream(sync.device, *stream);
    if (const auto stream = stream_number(event.arg("wait_on_stream")); stream && sync.record != 0)
      sync.record_stream = store_.stream(sync.device, *stream);
  }
  if (sync.correlation != 0) syncs_.push_back(sync);
}

void Converter::add_memory(const Event& event, Ns time) {
  Allocations& allocations = trace_.allocations;
  const uint32_t row = store_.add(allocations);
  if (row == kNoRow) return;
  const int64_t bytes = read_decimal(event.arg("Bytes"), 0).value_or(0);
  const auto type = read_unsigned(event.arg("Device Type")).value_or(0);
  const auto number = device_number(event.arg("Device Id"));
  allocations.start[row] = time;
  allocations.end[row] = time;
  allocations.thread[row] = thread_of(event);
  allocations.kind[row] = static_cast<uint8_t>(bytes < 0 ? AllocKind::free : AllocKind::allocate);
  // 0 is the host in the framework's list of device types.
  allocations.memory[row] = static_cast<uint8_t>(type == 0 ? Memory::pageable : Memory::device);
  if (type != 0 && number) allocations.device[row] = store_.device(*number);
  allocations.bytes[row] =
      bytes < 0 ? uint64_t{0} - static_cast<uint64_t>(bytes) : static_cast<uint64_t>(bytes);
  allocations.storage[row] = event.number("Addr");
  allocations.step[row] = -1;
  const auto total = [&](std::string_view key, std::string_view name) {
    const std::string_view text = event.arg(key);
    const auto value = read_double(text);
    if (text.empty() || !value) return;
    Counters& counters = trace_.counters;
    const uint32_t at = store_.add(counters);
    if (at == kNoRow) return;
    counters.time[at] = time;
    counters.name[at] = store_.string(name);
    counters.device[at] = allocations.device[row];
    counters.value[at] = *value;
  };
  total("Total Allocated", "used_bytes");
  total("Total Reserved", "reserved_bytes");
}

}  // namespace mill::prof
