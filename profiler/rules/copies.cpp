#include "profiler/rules/copies.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

namespace mill::prof {

namespace {

constexpr size_t kMostAskers = 3;
constexpr uint64_t kLongRecording = 1000000;  // rows
constexpr size_t kMostOfLong = 3;             // findings

// A string that says who asked for a copy; 0: nobody knows.
uint32_t asker_of(const Trace& trace, uint32_t row) {
  const uint32_t call = trace.work.call[row];
  uint32_t op = trace.work.op[row];
  if (op == kNoRow && call != kNoRow) op = trace.calls.op[call];
  if (op != kNoRow && trace.ops.name[op] != 0) return trace.ops.name[op];
  const uint32_t copy = trace.work.copy[row];
  if (copy != kNoRow && trace.copies.scope[copy] != 0) return trace.copies.scope[copy];
  return call != kNoRow ? trace.calls.name[call] : 0;
}

}  // namespace

Ns length_of(Ns start, Ns end) {
  if (end <= start) return 0;
  const uint64_t length = static_cast<uint64_t>(end) - static_cast<uint64_t>(start);
  return static_cast<Ns>(std::min<uint64_t>(length, std::numeric_limits<Ns>::max()));
}

Ns whole_ns(double ns) {
  if (!(ns > 0)) return 0;
  constexpr Ns kMost = Ns{1} << 61;  // two of them can be added
  if (ns >= static_cast<double>(kMost)) return kMost;
  return std::llround(ns);
}

CopyRow copy_row(const RuleInput& input, uint32_t row) {
  const Trace& trace = input.timeline.trace();
  const Work& work = trace.work;
  CopyRow out;
  out.row = row;
  out.at = {work.start[row], work.end[row]};
  out.length = length_of(out.at.begin, out.at.end);
  out.kind = static_cast<CopyKind>(work.copy_kind[row]);
  out.memory = static_cast<Memory>(work.host_memory[row]);
  out.bytes = work.bytes[row];
  out.copies = std::max<uint64_t>(work.copies[row], 1);
  out.call = work.call[row];
  if (const uint32_t copy = work.copy[row]; copy != kNoRow) {
    if (out.memory == Memory::unknown) {
      const bool to_host = out.kind == CopyKind::device_to_host;
      out.memory = static_cast<Memory>(to_host ? trace.copies.to[copy] : trace.copies.from[copy]);
    }
    if (out.bytes == 0) out.bytes = trace.copies.bytes[copy];
  }
  if (out.call != kNoRow) {
    out.called = {trace.calls.start[out.call], trace.calls.end[out.call]};
    out.call_length = length_of(out.called.begin, out.called.end);
    out.async_form = (trace.calls.flags[out.call] & kAsyncForm) != 0;
    // Copies of a graph have the call that launched it, which waits for nothing.
    const auto kind = static_cast<CallKind>(trace.calls.kind[out.call]);
    out.sync_form = !out.async_form && (kind == CallKind::copy || kind == CallKind::fill);
    if (out.bytes == 0) out.bytes = trace.calls.bytes[out.call];
    out.small_upload = out.kind == CopyKind::host_to_device &&
                       static_cast<double>(out.bytes) <= input.limits.t2_small_bytes;
  }
  return out;
}

bool blocks_in_disguise(const RuleInput& input, const CopyRow& copy, Ns launch_ns) {
  if (!copy.async_form) return false;
  if (copy.memory == Memory::pageable) return true;
  // A short copy may well run while the call that asked for it still returns.
  if (copy.length <= launch_ns) return false;
  const Ns both =
      length_of(std::max(copy.at.begin, copy.called.begin), std::min(copy.at.end, copy.called.end));
  return static_cast<double>(both) >= input.limits.t1_cover * static_cast<double>(copy.length);
}

Ns launch_cost(const RuleInput& input) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  std::vector<Ns> costs;
  for (uint32_t row = 0; row < trace.calls.size(); ++row) {
    if (static_cast<CallKind>(trace.calls.kind[row]) != CallKind::launch ||
        (trace.calls.flags[row] & (kExcluded | kBlocking | kUnfinished)) != 0 ||
        !window.contains(trace.calls.start[row]))
      continue;
    costs.push_back(length_of(trace.calls.start[row], trace.calls.end[row]));
  }
  if (costs.empty()) return 0;
  const auto middle = costs.begin() + static_cast<std::ptrdiff_t>(costs.size() / 2);
  std::nth_element(costs.begin(), middle, costs.end());
  return *middle;
}

const LinkLine& Lines::of(CopyKind kind, Memory memory) {
  const std::pair key{kind, memory};
  for (const auto& [known, line] : lines_) {
    if (known == key) return line;
  }
  return lines_.emplace_back(key, input_.links.line(input_.timeline.trace(), device_, kind, memory))
      .second;
}

size_t most_findings(const RuleInput& input, size_t usual) {
  const Trace& trace = input.timeline.trace();
  const uint64_t rows = uint64_t{trace.work.size()} + trace.calls.size();
  return rows > kLongRecording ? std::min(usual, kMostOfLong) : usual;
}

double analysed_ns(const RuleInput& input) {
  return static_cast<double>(input.timeline.analysed().length());
}

double window_parts(const RuleInput& input) {
  return std::max<double>(input.timeline.window_steps(), 1);
}

std::string per_step(const RuleInput& input, double ns) {
  return show_time(ns / window_parts(input)) +
         (input.timeline.window_steps() > 0 ? " per step" : "");
}

std::string bytes_per_step(const RuleInput& input, double bytes) {
  return show_bytes(bytes / window_parts(input)) +
         (input.timeline.window_steps() > 0 ? " per step" : "");
}

std::string device_text(const Trace& trace, uint32_t device) {
  if (device >= trace.devices.size()) return "an unknown device";
  const DeviceInfo& info = trace.devices[device];
  std::string text = "device " + std::to_string(info.number);
  if (!info.name.empty()) text += " (" + info.name + ")";
  return text;
}

std::string thread_text(const Trace& trace, uint32_t thread) {
  if (thread >= trace.threads.size()) return "an unknown thread";
  const ThreadInfo& info = trace.threads[thread];
  if (info.name.starts_with("thread ")) return info.name;
  return "thread " + (info.name.empty() ? std::to_string(info.number) : info.name);
}

std::string stream_text(const Trace& trace, uint32_t stream) {
  if (stream >= trace.streams.size()) return "an unknown stream";
  const StreamInfo& info = trace.streams[stream];
  if (info.name.starts_with("stream ")) return info.name;
  return "stream " + (info.name.empty() ? std::to_string(info.number) : info.name);
}

const char* direction_text(CopyKind kind) {
  switch (kind) {
    case CopyKind::host_to_device: return "host-to-device";
    case CopyKind::device_to_host: return "device-to-host";
    case CopyKind::on_device: return "on-device";
    case CopyKind::peer: return "device-to-device";
    case CopyKind::host_to_host: return "host-to-host";
    case CopyKind::unknown: break;
  }
  return "unknown";
}

std::string copies_text(uint64_t count) {
  return show_count(count) + (count == 1 ? " copy" : " copies");
}

std::string source_text(const LinkLine& line) {
  return show_source(line.source, line.memory);
}

std::string askers_text(const Trace& trace, std::span<const uint32_t> rows) {
  struct Sum {
    uint32_t name = 0;
    uint64_t count = 0;
    double bytes = 0;
  };
  std::unordered_map<uint32_t, Sum> sums;
  for (const uint32_t row : rows) {
    const uint32_t name = asker_of(trace, row);
    if (name == 0) continue;
    Sum& sum = sums[name];
    sum.name = name;
    ++sum.count;
    sum.bytes += static_cast<double>(trace.work.bytes[row]);
  }
  std::vector<Sum> order;
  order.reserve(sums.size());
  for (const auto& [name, sum] : sums) order.push_back(sum);
  std::sort(order.begin(), order.end(), [](const Sum& a, const Sum& b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.name < b.name;
  });
  std::string text;
  for (size_t k = 0; k < std::min(order.size(), kMostAskers); ++k) {
    if (k > 0) text += ", ";
    text += std::string(trace.strings.text(order[k].name)) + " (" + copies_text(order[k].count) +
            ", " + show_bytes(order[k].bytes) + ")";
  }
  if (order.size() > kMostAskers) {
    text += " and " + show_count(order.size() - kMostAskers) + " more";
  }
  return text;
}

std::string maker_text(const Trace& trace, uint32_t row) {
  const uint32_t copy = trace.work.copy[row];
  if (copy != kNoRow) {
    const uint32_t op = trace.copies.op[copy];
    if (op != kNoRow && trace.ops.name[op] != 0) {
      return std::string(trace.strings.text(trace.ops.name[op]));
    }
    if (trace.copies.scope[copy] != 0) {
      return std::string(trace.strings.text(trace.copies.scope[copy]));
    }
  }
  const uint32_t op = trace.work.op[row];
  return op != kNoRow ? std::string(trace.strings.text(trace.ops.name[op])) : std::string();
}

}  // namespace mill::prof
