// A recording, whatever it came from: what the engine, a device, an import or an injection saw, as
// columnar tables on one clock. Sources append rows; health/ flags what cannot be; link.h joins the
// tables; everything after that only reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/base/columns.h"
#include "profiler/base/intervals.h"
#include "profiler/base/strings.h"

namespace mill::prof {

// ---- enumerators; 0 is "unknown" everywhere -----------------------------------------------------

enum class OpKind : uint8_t { unknown, op, backward_pass };
// What a host call into a device's runtime asks for.
enum class CallKind : uint8_t {
  unknown,  // any other call
  launch,
  copy,
  fill,
  event_record,
  event_wait,  // makes a stream wait, not the host
  sync_event,  // the host waits from here ...
  sync_stream,
  sync_device,  // ... to here
  query,
  allocate,
  free,
  host_allocate,  // page-locked memory: allocated, registered, or given back
  host_free,
  module_load,
  create,  // streams, events, contexts, handles
  graph_launch,
  host_function
};
enum class WorkKind : uint8_t { unknown, kernel, copy, fill, host_function };
enum class CopyKind : uint8_t {
  unknown,
  host_to_device,
  device_to_host,
  on_device,
  peer,
  host_to_host
};
enum class Memory : uint8_t {
  unknown,
  pageable,
  pinned,
  device,
  managed
};  // as mill_record_memories
enum class SyncKind : uint8_t {
  unknown,
  event,
  stream,
  read,
  device
};  // as mill_record_sync_details
enum class AllocKind : uint8_t { unknown, allocate, free };
enum class AllocHow : uint8_t { unknown, hit, growth, reclaim };  // as mill_record_alloc_details
enum class LoaderKind : uint8_t { unknown, next, fill };          // as mill_record_loader_details
enum class RangeKind : uint8_t { unknown, scope, user, step, mark, script };
enum class OverheadKind : uint8_t {
  unknown,
  profiler,     // buffer handling, instrumentation: the profiler's own
  module_load,  // kernels loaded or compiled, lazily too
  queue_full,   // the call waited for room in a command queue
  resource
};
enum class ManagedKind : uint8_t { unknown, to_device, to_host, fault, thrash };

enum RowFlags : uint8_t {
  kExcluded = 1,   // impossible times: no analysis uses the row (Work, Calls)
  kAsyncForm = 2,  // a call in its asynchronous form: it may return before the work is done (Calls)
  kBlocking = 4,   // the call returned after the work was done (Calls, Copies)
  kUnfinished = 8  // still under way when the recording ended (Calls)
};

// The text of an enumerator of a column with Unit::code: of ("work", "kind", 2), "copy".
std::string_view code_text(std::string_view table, std::string_view column, uint32_t code);

// ---- what rows refer to -------------------------------------------------------------------------

// Where the work of a device is written down.
enum class DeviceKind : uint8_t { unknown, cpu, accelerator };

struct DeviceInfo {
  uint64_t number = 0;  // as its source counts
  std::string name;
  std::string description;
  DeviceKind kind = DeviceKind::accelerator;
  bool modelled = false;      // its time is simulated
  uint32_t copy_engines = 0;  // 0: unknown
  uint32_t host_threads = 0;  // of a CPU device: how many its pool has
  uint64_t memory_bytes = 0;
  double memory_bytes_per_s = 0;  // 0: unknown, as what follows
  double to_device_bytes_per_s = 0;
  double to_host_bytes_per_s = 0;
  double peer_bytes_per_s = 0;
  uint32_t link_generation = 0;
  uint32_t link_generation_max = 0;
  uint32_t link_width = 0;
  uint32_t link_width_max = 0;
};

struct ThreadInfo {
  uint64_t process = 0;
  uint64_t number = 0;
  std::string name;
};

struct StreamInfo {
  uint32_t device = kNoRow;
  uint64_t number = 0;
  std::string name;
  bool legacy_default = false;  // waits for, and holds up, every blocking stream of its device
};

// ---- tables; every start, end and time is in ns on the trace's clock ----------------------------

// clang-format off: it never comes to rest on these

// Operators as a framework or the engine ran them on the host, and backward passes.
#define MILL_PROF_OPS(X)                                                                    \
  X(int64_t, start, ns)                                                                     \
  X(int64_t, end, ns)                                                                       \
  X(uint32_t, thread, thread)                                                               \
  X(uint32_t, name, string)                                                                 \
  X(uint8_t, kind, code)                                                                    \
  X(uint8_t, flags, flags)                                                                  \
  X(int32_t, number, none)                                                                  \
  X(uint32_t, device, device) /* of its exec; kNoRow: not known */                          \
  X(uint64_t, instance, none) /* number of the op call; 0: the source has none */           \
  X(uint64_t, forward, none)  /* of an op of a backward pass: instance of the forward op */ \
  X(uint64_t, bytes, bytes)                                                                 \
  X(uint64_t, flops, flops)                                                                 \
  X(uint64_t, tensor, none)                                                                 \
  X(uint32_t, tensor_version, none)                                                         \
  X(uint64_t, storage, none)                                                                \
  X(uint32_t, dtypes, none) /* bytes 0 to 3: of the first output and three inputs */        \
  X(uint32_t, exec, none)                                                                   \
  X(uint32_t, scope, string)                                                                \
  X(int64_t, step, none)                                                                    \
  X(int32_t, status, none)                                                                  \
  X(uint32_t, parent, row)     /* link: the op that it ran in, in Ops */                    \
  X(uint32_t, forward_op, row) /* link: in Ops */

// Calls of the host into a device's runtime or driver.
#define MILL_PROF_CALLS(X)                                                                      \
  X(int64_t, start, ns)                                                                         \
  X(int64_t, end, ns)                                                                           \
  X(uint32_t, thread, thread)                                                                   \
  X(uint32_t, name, string)                                                                     \
  X(uint8_t, kind, code)                                                                        \
  X(uint8_t, flags, flags)                                                                      \
  X(uint32_t, device, device)                                                                   \
  X(uint32_t, stream, stream) /* kNoRow: the source does not say */                             \
  X(uint64_t, correlation, none)                                                                \
  X(uint64_t, waits_for, none) /* of a wait for an event: correlation of its record; 0: none */ \
  X(uint64_t, instance, none)  /* of the op call that made it; 0: see op */                     \
  X(uint64_t, bytes, bytes)                                                                     \
  X(int32_t, status, none)                                                                      \
  X(uint32_t, op, row)   /* link: innermost op, in Ops */                                       \
  X(uint32_t, work, row) /* link: its first piece of device work, in Work */

// What a device did. Ordered by (device, start) once linked.
#define MILL_PROF_WORK(X)                                                         \
  X(int64_t, start, ns)                                                           \
  X(int64_t, end, ns)                                                             \
  X(int64_t, submit, ns)                                                          \
  X(int64_t, ready, ns) /* 0: the source does not say */                          \
  X(uint32_t, device, device)                                                     \
  X(uint32_t, stream, stream)                                                     \
  X(uint32_t, name, string)                                                       \
  X(uint8_t, kind, code)                                                          \
  X(uint8_t, copy_kind, code)                                                     \
  X(uint8_t, host_memory, code)                                                   \
  X(uint8_t, flags, flags)                                                        \
  X(uint32_t, peer, device) /* of a copy between devices: the target */           \
  X(uint64_t, bytes, bytes)                                                       \
  X(uint64_t, flops, flops)                                                       \
  X(uint64_t, correlation, none)                                                  \
  X(uint64_t, instance, none)                                                     \
  X(uint64_t, host_pointer, none)                                                 \
  X(uint64_t, tensor, none)                                                       \
  X(uint32_t, tensor_version, none)                                               \
  X(uint64_t, storage, none)                                                      \
  X(uint32_t, copies, none) /* copies that one record stands for; 0 and 1: one */ \
  X(uint64_t, graph_node, none)                                                   \
  X(uint32_t, blocks, none)                                                       \
  X(uint32_t, threads, none)                                                      \
  X(uint32_t, registers, none)                                                    \
  X(uint32_t, shared_bytes, bytes)                                                \
  X(float, occupancy, ratio)                                                      \
  X(uint32_t, call, row) /* link: the call that asked for it, in Calls */         \
  X(uint32_t, op, row)   /* link: the op that it belongs to, in Ops */            \
  X(uint32_t, copy, row) /* link: the engine's record of the copy, in Copies */

// Copies as the engine asked for them; start to end is the engine's call.
#define MILL_PROF_COPIES(X)                                                                     \
  X(int64_t, start, ns)                                                                         \
  X(int64_t, end, ns)                                                                           \
  X(uint32_t, thread, thread)                                                                   \
  X(uint8_t, from, code)                                                                        \
  X(uint8_t, to, code)                                                                          \
  X(uint8_t, flags, flags)                                                                      \
  X(uint32_t, from_device, device)                                                              \
  X(uint32_t, to_device, device)                                                                \
  X(uint64_t, bytes, bytes)                                                                     \
  X(uint64_t, tensor, none)                                                                     \
  X(uint32_t, tensor_version, none)                                                             \
  X(uint64_t, storage, none)                                                                    \
  X(uint64_t, source, none)         /* of a copy from a tensor: id of its storage ... */        \
  X(uint64_t, source_offset, bytes) /* ... where in it; tensor_version is then that tensor's */ \
  X(uint64_t, instance, none)                                                                   \
  X(uint32_t, exec, none)                                                                       \
  X(uint32_t, stream, stream)                                                                   \
  X(uint32_t, scope, string)                                                                    \
  X(int64_t, step, none)                                                                        \
  X(int32_t, status, none)                                                                      \
  X(uint32_t, op, row)   /* link: the op that made the tensor (of one that leaves a device) */  \
  X(uint32_t, work, row) /* link: in Work */

// Where the engine says that the host waited.
#define MILL_PROF_SYNCS(X)    \
  X(int64_t, start, ns)       \
  X(int64_t, end, ns)         \
  X(uint32_t, thread, thread) \
  X(uint8_t, kind, code)      \
  X(uint64_t, tensor, none)   \
  X(uint64_t, storage, none)  \
  X(uint64_t, bytes, bytes)   \
  X(uint64_t, instance, none) \
  X(uint32_t, exec, none)     \
  X(uint32_t, scope, string)  \
  X(int64_t, step, none)

// Allocator events: of the engine's allocator, or of a framework's.
#define MILL_PROF_ALLOCATIONS(X)                               \
  X(int64_t, start, ns)                                        \
  X(int64_t, end, ns)                                          \
  X(uint32_t, thread, thread)                                  \
  X(uint8_t, kind, code)                                       \
  X(uint8_t, how, code)                                        \
  X(uint8_t, memory, code)                                     \
  X(uint32_t, device, device)                                  \
  X(uint64_t, bytes, bytes)                                    \
  X(uint64_t, storage, none)                                   \
  X(uint64_t, instance, none)                                  \
  X(int32_t, number, none) /* of the op that it happened in */ \
  X(uint32_t, op, row)     /* link: in Ops */                  \
  X(uint32_t, scope, string)                                   \
  X(int64_t, step, none)

// A program that waits for its next batch, and workers that make one.
#define MILL_PROF_LOADER(X)                           \
  X(int64_t, start, ns)                               \
  X(int64_t, end, ns)                                 \
  X(int64_t, wait, ns) /* of start to end, waiting */ \
  X(uint32_t, thread, thread)                         \
  X(uint8_t, kind, code)                              \
  X(uint64_t, bytes, bytes)                           \
  X(uint8_t, from, code)                              \
  X(uint8_t, to, code)                                \
  X(uint32_t, exec, none)                             \
  X(int64_t, step, none)                              \
  X(uint64_t, loader, none) /* 0: not known */        \
  X(uint64_t, batch, none)  /* of it, from 1 */

// Steps as they were marked. analysis steps: timeline.h.
#define MILL_PROF_MARKED_STEPS(X) \
  X(int64_t, start, ns)           \
  X(int64_t, end, ns)             \
  X(int64_t, number, none)        \
  X(uint32_t, thread, thread)     \
  X(uint32_t, exec, none)         \
  X(int64_t, loader_wait, ns)

// Named parts of the host's time, nested per thread; of a mark start = end.
#define MILL_PROF_RANGES(X)   \
  X(int64_t, start, ns)       \
  X(int64_t, end, ns)         \
  X(uint32_t, thread, thread) \
  X(uint32_t, name, string)   \
  X(uint8_t, kind, code)

// Time that the tools and the runtime took for themselves. Never joined to ops.
#define MILL_PROF_OVERHEADS(X) \
  X(int64_t, start, ns)        \
  X(int64_t, end, ns)          \
  X(uint32_t, thread, thread)  \
  X(uint32_t, device, device)  \
  X(uint8_t, kind, code)       \
  X(uint32_t, name, string)

// Pages that moved between host and device by themselves.
#define MILL_PROF_MANAGED(X)  \
  X(int64_t, start, ns)       \
  X(int64_t, end, ns)         \
  X(uint32_t, device, device) \
  X(uint8_t, kind, code)      \
  X(uint64_t, bytes, bytes)   \
  X(uint64_t, address, none)  \
  X(uint64_t, tensor, none)

// A value that something had from `time` on, such as "minor_faults" or "reserved_bytes".
#define MILL_PROF_COUNTERS(X) \
  X(int64_t, time, ns)        \
  X(uint32_t, name, string)   \
  X(uint32_t, device, device) \
  X(double, value, none)

// clang-format on

MILL_PROF_TABLE(Ops, MILL_PROF_OPS)
MILL_PROF_TABLE(Calls, MILL_PROF_CALLS)
MILL_PROF_TABLE(Work, MILL_PROF_WORK)
MILL_PROF_TABLE(Copies, MILL_PROF_COPIES)
MILL_PROF_TABLE(Syncs, MILL_PROF_SYNCS)
MILL_PROF_TABLE(Allocations, MILL_PROF_ALLOCATIONS)
MILL_PROF_TABLE(Loader, MILL_PROF_LOADER)
MILL_PROF_TABLE(MarkedSteps, MILL_PROF_MARKED_STEPS)
MILL_PROF_TABLE(Ranges, MILL_PROF_RANGES)
MILL_PROF_TABLE(Overheads, MILL_PROF_OVERHEADS)
MILL_PROF_TABLE(Managed, MILL_PROF_MANAGED)
MILL_PROF_TABLE(Counters, MILL_PROF_COUNTERS)

// Records that somebody had and this trace has not.
struct Loss {
  std::string where;  // "engine rings", "device 1"; "store", "other clock": health.h
  uint64_t lost = 0;
};

// What recording cost the program, by the session that recorded; negative: not known.
struct OwnCost {
  double share = -1;      // of a step
  double share_low = -1;  // the lower end of its 95 % interval
  double event_ns = -1;   // of one event
  double budget = -1;     // what the share was to stay below
};

struct Trace {
  std::string source;            // a file's path, or the name of the program
  std::string dialect;           // "millrace", "kineto", "chrome"
  bool cut_off = false;          // the file ends in the middle
  bool whole_graphs = false;     // graph launches hide their nodes, as far as that can be told
  bool has_device_clock = true;  // false: host events only, no device was watched
  uint64_t skipped = 0;          // events that could not be read; see notes
  uint64_t other_clock = 0;      // records of another clock, left out
  uint64_t unfinished = 0;       // pieces of device work still under way at the end
  OwnCost own_cost;
  std::vector<Loss> losses;
  std::vector<std::string> notes;  // sentences for people: what was odd
  // Spans that were recorded; empty: all of it. Outside them nothing is known.
  std::vector<Interval> recorded;

  Strings strings;
  std::vector<DeviceInfo> devices;
  std::vector<ThreadInfo> threads;
  std::vector<StreamInfo> streams;

  Ops ops;
  Calls calls;
  Work work;
  Copies copies;
  Syncs syncs;
  Allocations allocations;
  Loader loader;
  MarkedSteps marked_steps;
  Ranges ranges;
  Overheads overheads;
  Managed managed;
  Counters counters;

  // Indices by number, added where new. O(number of them): sources keep their own map.
  uint32_t device(uint64_t number);
  uint32_t thread(uint64_t process, uint64_t number);
  uint32_t stream(uint32_t device, uint64_t number);

  uint64_t rows() const;
  uint64_t bytes() const;
  // The program used the CPU's device and no other: there is nothing that could be watched.
  bool on_cpu_only() const;
};

// f(name, table) for every table of a trace, in a fixed order; names are plural nouns.
template <class T, class F>
void for_each_table(T& trace, F&& f) {
  f("ops", trace.ops);
  f("calls", trace.calls);
  f("work", trace.work);
  f("copies", trace.copies);
  f("syncs", trace.syncs);
  f("allocations", trace.allocations);
  f("loader", trace.loader);
  f("marked_steps", trace.marked_steps);
  f("ranges", trace.ranges);
  f("overheads", trace.overheads);
  f("managed", trace.managed);
  f("counters", trace.counters);
}

}  // namespace mill::prof
