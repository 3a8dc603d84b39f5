// Builds traces by hand for tests: every time is given, so that every answer can be worked out on
// paper.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "profiler/timeline/link.h"
#include "profiler/timeline/timeline.h"
#include "profiler/timeline/trace.h"

namespace mill::prof::test {

inline constexpr Ns us = 1000;
inline constexpr Ns ms = 1000 * us;

class Builder {
 public:
  Trace trace;

  Builder() {
    trace.source = "test";
    trace.dialect = "millrace";
    device(0);
    thread(1);
  }

  uint32_t device(uint64_t number) {
    const uint32_t k = trace.device(number);
    trace.devices[k].name = "gpu" + std::to_string(number);
    trace.devices[k].copy_engines = 2;
    return k;
  }
  uint32_t thread(uint64_t number) { return trace.thread(1, number); }

  // Where what follows goes: indices as device() and thread() give them.
  Builder& on(uint32_t device_index, uint64_t stream_number = 7) {
    device_ = device_index;
    stream_ = stream_number;
    return *this;
  }
  Builder& by(uint32_t thread_index) {
    thread_ = thread_index;
    return *this;
  }

  uint32_t op(std::string_view name, Ns start, Ns end, uint64_t instance = 0) {
    const uint32_t row = trace.ops.add();
    trace.ops.start[row] = start;
    trace.ops.end[row] = end;
    trace.ops.thread[row] = thread_;
    trace.ops.name[row] = trace.strings.intern(name);
    trace.ops.kind[row] = static_cast<uint8_t>(OpKind::op);
    trace.ops.device[row] = device_;
    trace.ops.instance[row] = instance;
    trace.ops.step[row] = -1;
    return row;
  }

  // A host call; correlation 0 takes the next free number.
  uint32_t call(CallKind kind, std::string_view name, Ns start, Ns end, uint64_t correlation = 0) {
    const uint32_t row = trace.calls.add();
    trace.calls.start[row] = start;
    trace.calls.end[row] = end;
    trace.calls.thread[row] = thread_;
    trace.calls.name[row] = trace.strings.intern(name);
    trace.calls.kind[row] = static_cast<uint8_t>(kind);
    trace.calls.device[row] = device_;
    trace.calls.stream[row] = trace.stream(device_, stream_);
    trace.calls.correlation[row] = correlation != 0 ? correlation : ++correlation_;
    if (name.find("Async") != std::string_view::npos) trace.calls.flags[row] |= kAsyncForm;
    if (kind == CallKind::sync_event || kind == CallKind::sync_stream ||
        kind == CallKind::sync_device)
      trace.calls.flags[row] |= kBlocking;
    return row;
  }

  // Device work asked for by a call.
  uint32_t work(WorkKind kind, std::string_view name, Ns start, Ns end, uint32_t call_row) {
    const uint32_t row = trace.work.add();
    trace.work.start[row] = start;
    trace.work.end[row] = end;
    trace.work.device[row] = device_;
    trace.work.stream[row] = trace.stream(device_, stream_);
    trace.work.name[row] = trace.strings.intern(name);
    trace.work.kind[row] = static_cast<uint8_t>(kind);
    if (call_row != kNoRow) {
      trace.work.correlation[row] = trace.calls.correlation[call_row];
      trace.work.submit[row] = trace.calls.end[call_row];
    }
    return row;
  }

  // A launch call of `cost` ending at `launched`, and its kernel. Gives the row of Work.
  uint32_t kernel(std::string_view name, Ns launched, Ns start, Ns end, Ns cost = 5 * us) {
    const uint32_t c = call(CallKind::launch, "cudaLaunchKernel", launched - cost, launched);
    return work(WorkKind::kernel, name, start, end, c);
  }

  // A copy call [called, returned) and its copy. Gives the row of Work. `async`: by its name.
  uint32_t copy(CopyKind kind, Memory memory, uint64_t bytes, Ns called, Ns returned, Ns start,
                Ns end, bool async = true) {
    const uint32_t c =
        call(CallKind::copy, async ? "cudaMemcpyAsync" : "cudaMemcpy", called, returned);
    if (!async) trace.calls.flags[c] |= kBlocking;
    trace.calls.bytes[c] = bytes;
    const uint32_t row = work(WorkKind::copy, "copy", start, end, c);
    trace.work.copy_kind[row] = static_cast<uint8_t>(kind);
    trace.work.host_memory[row] = static_cast<uint8_t>(memory);
    trace.work.bytes[row] = bytes;
    return row;
  }

  uint32_t step(int64_t number, Ns start, Ns end) {
    const uint32_t row = trace.marked_steps.add();
    trace.marked_steps.start[row] = start;
    trace.marked_steps.end[row] = end;
    trace.marked_steps.number[row] = number;
    trace.marked_steps.thread[row] = thread_;
    return row;
  }

  uint32_t loader_wait(Ns start, Ns end) {
    const uint32_t row = trace.loader.add();
    trace.loader.start[row] = start;
    trace.loader.end[row] = end;
    trace.loader.wait[row] = end - start;
    trace.loader.thread[row] = thread_;
    trace.loader.kind[row] = static_cast<uint8_t>(LoaderKind::next);
    return row;
  }

 private:
  uint32_t device_ = 0;
  uint32_t thread_ = 0;
  uint64_t stream_ = 7;
  uint64_t correlation_ = 0;
};

inline Timeline timeline_of(Trace trace, const TimelineOptions& options = {}) {
  const LinkCounts counts = link(trace);
  return Timeline(std::move(trace), counts, options);
}
inline Timeline timeline_of(const Builder& b, const TimelineOptions& options = {}) {
  return timeline_of(b.trace, options);
}

}  // namespace mill::prof::test
