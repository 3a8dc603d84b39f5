// A small simulator of a host thread, streams, engines and events: makes legal recordings of
// programs, so that a replay with a change can be compared with a recording of the changed program.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "profiler/builder.h"

namespace mill::prof::test {

enum class Do : uint8_t {
  compute,      // host time of `length`
  kernel,       // on `stream`, of `length`
  to_device,    // an asynchronous copy of `length`
  to_host,      // as that
  read,         // a blocking copy to the host of `length`
  record,       // event `event` on `stream`
  wait,         // `stream` waits for `event`
  sync_stream,  // the host waits
  sync_event,
  sync_device,
  step  // a step ends and the next begins
};

struct Act {
  Do what;
  uint32_t stream = 0;
  Ns length = 0;
  uint32_t event = 0;
};

struct Costs {
  Ns launch = 4 * us;   // of a call that asks for work
  Ns small = us;        // of records, and of waits of streams
  Ns sync = 2 * us;     // of a call that finds nothing to wait for
  Ns latency = 3 * us;  // from the end of a call to the start of its work
  Ns wake = 5 * us;     // from the end of the work to the end of the call that waits for it
  bool events = true;   // whether the recording says what waits are for
};

struct Schedule {
  Builder builder;
  std::vector<uint32_t> kernels;  // rows of Work before linking: as they were asked for
  std::vector<uint32_t> copies;
  Ns end = 0;
};

// Every time is multiplied by `scale` and `shift` is added.
inline Schedule simulate(const std::vector<Act>& program, const Costs& costs = {}, Ns shift = 0,
                         Ns scale = 1) {
  Schedule out;
  Builder& b = out.builder;
  b.on(0);
  Ns host = 0;
  std::map<uint32_t, Ns> stream_free;
  std::map<uint32_t, Ns> stream_held;  // by events
  Ns engine_free[2] = {0, 0};
  std::map<uint32_t, Ns> event_time;
  std::map<uint32_t, uint64_t> event_correlation;
  Ns all_done = 0;
  Ns step_begin = 0;
  int64_t steps = 0;
  const auto at = [&](Ns t) { return t * scale + shift; };
  for (const Act& act : program) {
    b.on(0, act.stream + 7);
    const Ns start = host;
    switch (act.what) {
      case Do::compute: host += act.length; break;
      case Do::kernel:
      case Do::to_device:
      case Do::to_host:
      case Do::read: {
        const bool kernel = act.what == Do::kernel;
        const Ns asked = start + costs.launch;
        Ns begin =
            std::max({asked + costs.latency, stream_free[act.stream], stream_held[act.stream]});
        const int engine = act.what == Do::to_device ? 0 : 1;
        if (!kernel) begin = std::max(begin, engine_free[engine]);
        const Ns end = begin + act.length;
        stream_free[act.stream] = end;
        if (!kernel) engine_free[engine] = end;
        all_done = std::max(all_done, end);
        host = act.what == Do::read ? end + costs.wake : asked;
        if (kernel) {
          const uint32_t c = b.call(CallKind::launch, "cudaLaunchKernel", at(start), at(host));
          out.kernels.push_back(b.work(WorkKind::kernel, "kernel", at(begin), at(end), c));
        } else {
          const CopyKind kind = engine == 0 ? CopyKind::host_to_device : CopyKind::device_to_host;
          const Memory memory = act.what == Do::read ? Memory::pageable : Memory::pinned;
          out.copies.push_back(b.copy(kind, memory, 1 << 20, at(start), at(host), at(begin),
                                      at(end), act.what != Do::read));
          // Where in a blocking call the copy was asked for is not in a recording.
          b.trace.work.submit[out.copies.back()] = 0;
        }
        break;
      }
      case Do::record: {
        host += costs.small;
        const uint32_t c = b.call(CallKind::event_record, "cudaEventRecord", at(start), at(host));
        event_time[act.event] = std::max(stream_free[act.stream], stream_held[act.stream]);
        event_correlation[act.event] = b.trace.calls.correlation[c];
        break;
      }
      case Do::wait: {
        host += costs.small;
        const uint32_t c = b.call(CallKind::event_wait, "cudaStreamWaitEvent", at(start), at(host));
        if (costs.events) b.trace.calls.waits_for[c] = event_correlation[act.event];
        stream_held[act.stream] = std::max(stream_held[act.stream], event_time[act.event]);
        break;
      }
      case Do::sync_stream:
      case Do::sync_event:
      case Do::sync_device: {
        Ns until = 0;
        CallKind kind = CallKind::sync_device;
        const char* name = "cudaDeviceSynchronize";
        if (act.what == Do::sync_stream) {
          until = stream_free[act.stream];
          kind = CallKind::sync_stream;
          name = "cudaStreamSynchronize";
        } else if (act.what == Do::sync_event) {
          until = event_time[act.event];
          kind = CallKind::sync_event;
          name = "cudaEventSynchronize";
        } else {
          until = all_done;
        }
        const bool waits = until > start;
        host = waits ? std::max(start + costs.sync, until + costs.wake) : start + costs.sync;
        const uint32_t c = b.call(kind, name, at(start), at(host));
        if (act.what == Do::sync_event && costs.events)
          b.trace.calls.waits_for[c] = event_correlation[act.event];
        break;
      }
      case Do::step:
        if (host > step_begin) b.step(steps++, at(step_begin), at(host));
        step_begin = host;
        break;
    }
  }
  out.end = std::max(host, all_done);
  return out;
}

// The rows that rows of an unlinked trace became: linking sorts them by start.
inline std::vector<uint32_t> rows_after_link(const Schedule& schedule, const Trace& linked,
                                             const std::vector<uint32_t>& rows) {
  std::map<uint64_t, uint32_t> by_correlation;
  for (uint32_t row = 0; row < linked.work.size(); ++row)
    by_correlation[linked.work.correlation[row]] = row;
  std::vector<uint32_t> found;
  for (const uint32_t row : rows)
    found.push_back(by_correlation.at(schedule.builder.trace.work.correlation[row]));
  return found;
}

// No step is left out as a warm-up, and none looked for where no mark says so.
inline Timeline plain_timeline_of(Trace trace, const TimelineOptions& options = {0, false}) {
  const LinkCounts counts = link(trace);
  return Timeline(std::move(trace), counts, options);
}

}  // namespace mill::prof::test
