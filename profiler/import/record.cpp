// The engine's own timeline: one event for each of its records, whose fields stand in args by the
// names that trace.h gives them, without those that are 0.
#include <millrace/trace.h>

#include <algorithm>
#include <array>
#include <limits>

#include "profiler/import/own.h"
#include "profiler/import/text.h"

namespace mill::prof {

namespace {

uint32_t number32(const Event& event, std::string_view key) {
  return static_cast<uint32_t>(
      std::min<uint64_t>(event.number(key), std::numeric_limits<uint32_t>::max()));
}

int32_t signed32(const Event& event, std::string_view key) {
  const int64_t value = read_decimal(event.arg(key), 0).value_or(0);
  return static_cast<int32_t>(std::clamp<int64_t>(value, INT32_MIN, INT32_MAX));
}

int64_t signed64(const Event& event, std::string_view key) {
  return read_decimal(event.arg(key), 0).value_or(0);
}

template <size_t n>
uint8_t place(const std::array<std::string_view, n>& names, std::string_view text) {
  const auto found = std::find(names.begin(), names.end(), text);
  return found == names.end() ? 0 : static_cast<uint8_t>(found - names.begin());
}

// Of a thread's open step, about.
constexpr uint64_t kStepBytes = 64;

constexpr std::array<std::string_view, 5> kMemories = {"", "pageable", "pinned", "device",
                                                       "managed"};
constexpr std::array<std::string_view, 4> kAllocHows = {"", "hit", "growth", "reclaim"};
constexpr std::array<std::string_view, 5> kSyncs = {"", "event", "stream", "read", "device"};
constexpr std::array<std::string_view, 3> kLoaders = {"", "next", "fill"};
constexpr std::array<std::string_view, 18> kDtypes = {
    "none", "bool", "u8",   "i8",  "u16", "i16",    "u32",    "i32", "u64",
    "i64",  "f16",  "bf16", "f32", "f64", "f8e4m3", "f8e5m2", "c64", "c128"};

// "f32 <- f32 i64": the first output and up to three inputs.
uint32_t dtypes_of(std::string_view text) {
  uint32_t packed = 0;
  uint32_t index = 0;
  while (!text.empty() && index < 4) {
    const size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(std::min(space + 1, text.size()));
    if (word == "<-" || word.empty()) continue;
    packed |= uint32_t{place(kDtypes, word)} << (8 * index++);
  }
  return packed;
}

}  // namespace

bool OwnReader::is_record(const Event& event) {
  return event.find("kind") != nullptr && event.find("version") != nullptr;
}

uint32_t OwnReader::device_where(uint8_t memory, uint64_t number) {
  const size_t before = trace_.devices.size();
  const uint32_t device = store_.device(number);
  // The timeline does not describe devices, but only accelerators have memory of their own.
  const auto kind = static_cast<Memory>(memory);
  if (kind == Memory::device || kind == Memory::managed) {
    trace_.devices[device].kind = DeviceKind::accelerator;
  } else if (device == before) {
    trace_.devices[device].kind = DeviceKind::cpu;
  }
  return device;
}

// Of an exec a record is a step; of a session, which has no exec, it is where one step ends and the
// next begins.
void OwnReader::step(const Event& event, Ns start, Ns end) {
  const uint64_t thread = event.number("thread");
  int64_t number = signed64(event, "step");
  if (event.find("exec") == nullptr) {
    const auto open = open_steps_.find(thread);
    if (open == open_steps_.end()) {
      if (store_.take(kStepBytes)) open_steps_.emplace(thread, OpenStep{start, 0});
      return;
    }
    const OpenStep before = open->second;
    open->second = {start, before.number + 1};
    end = start;
    start = before.start;
    number = before.number;
  }
  MarkedSteps& steps = trace_.marked_steps;
  const uint32_t row = store_.add(steps);
  if (row == kNoRow) return;
  steps.start[row] = start;
  steps.end[row] = end;
  steps.number[row] = number;
  steps.thread[row] = store_.thread(store_.id(event.pid), thread);
  steps.exec[row] = number32(event, "exec");
  steps.loader_wait[row] = signed64(event, "wait_ns");
}

bool OwnReader::record(const Event& event, Ns start, Ns end) {
  const uint64_t process = store_.id(event.pid);
  const auto thread = [&] { return store_.thread(process, event.number("thread")); };
  const auto scope = [&] { return store_.string(event.arg("scope")); };
  const uint8_t memory = place(kMemories, event.arg("memory"));
  const uint8_t memory_to = place(kMemories, event.arg("memory_to"));
  const std::string_view detail = event.arg("detail");
  // Both devices are left out where they are 0, and the memories say whether there are any.
  const bool placed = event.find("memory") != nullptr;
  const auto device = [&] {
    return placed ? device_where(memory, event.number("device")) : kNoRow;
  };
  const auto device_to = [&] {
    return event.find("memory_to") != nullptr ? device_where(memory_to, event.number("device_to"))
                                              : kNoRow;
  };
  const uint64_t clock = event.number("clock");
  if (!clock_known_) {
    clock_known_ = true;
    clock_ = clock;
  } else if (clock != clock_) {
    ++trace_.other_clock;
    return true;
  }

  switch (event.number("kind")) {
    case MILL_RECORD_OP:
    case MILL_RECORD_BACKWARD: {
      Ops& ops = trace_.ops;
      const uint32_t row = store_.add(ops);
      if (row == kNoRow) return true;
      const bool op = event.number("kind") == MILL_RECORD_OP;
      ops.start[row] = start;
      ops.end[row] = end;
      ops.thread[row] = thread();
      ops.name[row] = store_.string(event.name);
      ops.kind[row] = static_cast<uint8_t>(op ? OpKind::op : OpKind::backward_pass);
      ops.number[row] = signed32(event, "op");
      ops.device[row] = device();
      ops.instance[row] = event.number("instance");
      ops.forward[row] = event.number("forward");
      ops.bytes[row] = event.size("bytes");
      ops.flops[row] = event.number("flops");
      ops.tensor[row] = event.number("tensor");
      ops.tensor_version[row] = number32(event, "tensor_version");
      ops.storage[row] = event.number("storage");
      ops.dtypes[row] = dtypes_of(event.arg("dtypes"));
      ops.exec[row] = number32(event, "exec");
      ops.scope[row] = scope();
      ops.step[row] = signed64(event, "step");
      ops.status[row] = signed32(event, "status");
      return true;
    }
    case MILL_RECORD_COPY: {
      Copies& copies = trace_.copies;
      const uint32_t row = store_.add(copies);
      if (row == kNoRow) return true;
      copies.start[row] = start;
      copies.end[row] = end;
      copies.thread[row] = thread();
      copies.from[row] = memory;
      copies.to[row] = memory_to;
      if (detail == "blocking") copies.flags[row] = kBlocking;
      copies.from_device[row] = device();
      copies.to_device[row] = device_to();
      copies.bytes[row] = event.size("bytes");
      copies.tensor[row] = event.number("tensor");
      copies.tensor_version[row] = number32(event, "tensor_version");
      copies.storage[row] = event.number("storage");
      copies.instance[row] = event.number("instance");
      copies.exec[row] = number32(event, "exec");
      // A stream is of the device that is not the host.
      const uint32_t streams_device = memory_to == static_cast<uint8_t>(Memory::device)
                                          ? copies.to_device[row]
                                          : copies.from_device[row];
      if (!event.arg("stream").empty())
        copies.stream[row] = store_.stream(streams_device, event.number("stream"));
      copies.source[row] = event.number("forward");
      if (copies.source[row] != 0) copies.source_offset[row] = event.number("flops");
      copies.scope[row] = scope();
      copies.step[row] = signed64(event, "step");
      copies.status[row] = signed32(event, "status");
      return true;
    }
    case MILL_RECORD_ALLOC:
    case MILL_RECORD_FREE: {
      Allocations& allocations = trace_.allocations;
      const uint32_t row = store_.add(allocations);
      if (row == kNoRow) return true;
      const bool takes = event.number("kind") == MILL_RECORD_ALLOC;
      allocations.start[row] = start;
      allocations.end[row] = end;
      allocations.thread[row] = thread();
      allocations.kind[row] = static_cast<uint8_t>(takes ? AllocKind::allocate : AllocKind::free);
      allocations.how[row] = place(kAllocHows, detail);
      allocations.memory[row] = memory;
      allocations.device[row] = device();
      allocations.bytes[row] = event.size("bytes");
      allocations.storage[row] = event.number("storage");
      allocations.instance[row] = event.number("instance");
      allocations.number[row] = signed32(event, "op");
      allocations.scope[row] = scope();
      allocations.step[row] = signed64(event, "step");
      return true;
    }
    case MILL_RECORD_SYNC: {
      Syncs& syncs = trace_.syncs;
      const uint32_t row = store_.add(syncs);
      if (row == kNoRow) return true;
      syncs.start[row] = start;
      syncs.end[row] = end;
      syncs.thread[row] = thread();
      syncs.kind[row] = place(kSyncs, detail);
      syncs.tensor[row] = event.number("tensor");
      syncs.storage[row] = event.number("storage");
      syncs.bytes[row] = event.size("bytes");
      syncs.instance[row] = event.number("instance");
      syncs.exec[row] = number32(event, "exec");
      syncs.scope[row] = scope();
      syncs.step[row] = signed64(event, "step");
      return true;
    }
    case MILL_RECORD_LOADER: {
      Loader& loader = trace_.loader;
      const uint32_t row = store_.add(loader);
      if (row == kNoRow) return true;
      loader.start[row] = start;
      loader.end[row] = end;
      loader.wait[row] = signed64(event, "wait_ns");
      loader.thread[row] = thread();
      loader.kind[row] = place(kLoaders, detail);
      loader.bytes[row] = event.size("bytes");
      loader.from[row] = memory;
      loader.to[row] = memory_to;
      loader.exec[row] = number32(event, "exec");
      loader.step[row] = signed64(event, "step");
      loader.loader[row] = event.number("storage");
      loader.batch[row] = event.number("instance");
      return true;
    }
    case MILL_RECORD_STEP: step(event, start, end); return true;
    case MILL_RECORD_SCOPE_END:
    case MILL_RECORD_MARK: {
      const bool mark = event.number("kind") == MILL_RECORD_MARK;
      // Scopes have their whole path in args, and their last part as the name.
      const std::string_view path = event.arg("scope");
      // The end of a session's range, whose beginning is not in the file.
      if (!mark && path.empty() && event.find("exec") == nullptr) return true;
      Ranges& ranges = trace_.ranges;
      const uint32_t row = store_.add(ranges);
      if (row == kNoRow) return true;
      ranges.start[row] = start;
      ranges.end[row] = end;
      ranges.thread[row] = thread();
      ranges.name[row] = store_.string(mark || path.empty() ? event.name : path);
      ranges.kind[row] = static_cast<uint8_t>(mark ? RangeKind::mark : RangeKind::scope);
      return true;
    }
    default: return false;
  }
}

}  // namespace mill::prof
