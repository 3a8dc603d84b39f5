// Chrome trace events, format 1 of Millrace's own dialect: what any viewer of Kineto traces shows,
// and everything that import needs to make the same Trace again.
//
//   {"displayTimeUnit": "ns",
//    "baseTimeNanoseconds": B,        every ts below is the trace's time minus B
//    "millrace": {"format": 1, "source", "dialect", "cut_off", "whole_graphs",
//                 "has_device_clock", "skipped", "other_clock", "unfinished",
//                 "own_cost": {"share", "share_low", "event_ns", "budget"}, negative: not known
//                 "losses": [{"where", "lost"}], "notes": [text],
//                 "recorded": [[begin, end]],                 ns, without B
//                 "devices": [{"number", "name", "description", "kind": 0..2, "modelled",
//                              "copy_engines", "host_threads", "memory_bytes",
//                              "memory_bytes_per_s", "to_device_bytes_per_s",
//                              "to_host_bytes_per_s", "peer_bytes_per_s", "link_generation",
//                              "link_generation_max", "link_width", "link_width_max"}],
//                 "threads": [{"process", "number", "name"}],
//                 "streams": [{"device": index or -1, "number", "name", "legacy_default"}]},
//    "traceEvents": [...]}
//
// "millrace" comes before "traceEvents"; its lists are Trace's, in order. Events by ph:
//   M    names and order of processes and tracks; nothing that "millrace" does not say
//   X    one row of a table; ts and dur are microseconds with three decimals
//   C    one row of counters: name, args.value (null: not a number); "device", a number, beside pid
//        where one is known
//   s f  the flow from a call to each piece of its work; id = 1 + place of the work in the file
// The table of an X event is told by cat: "cpu_op" ops; "cuda_runtime", "cuda_driver" calls;
// "kernel", "gpu_memcpy", "gpu_memset", "millrace.work" work; else "millrace.<table>".
// args holds the row's columns by their own names, without those that are as Table::add makes them
// and without links, name, start and end:
//   Unit::code    its text (code_text)           Unit::string   the text
//   Unit::device  the device's number            Unit::stream   the stream's number; its device is
//                 the row's "device", or else "stream_device" (-1: a stream of no device)
//   others        the stored number; times and lengths in ns, times without B taken off;
//                 a ratio that is no number is null
// flags come without kExcluded, which is health's to say. The event's name is the row's where its
// table has one ("unnamed": true in args of a slice where that is empty), else words for people. A
// host event is on pid = process and tid = thread; args.process and args.thread have them where it
// had to be drawn on another track: viewers nest slices, and take numbers of 32 bits. args.end, ns
// without B taken off, stands for start + dur where that is not the row's end.

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <unordered_set>
#include <vector>

#include "profiler/export/chrome_args.h"
#include "profiler/export/chrome_header.h"
#include "profiler/export/chrome_lanes.h"
#include "profiler/export/export.h"
#include "profiler/export/writer.h"

namespace mill::prof {

namespace {

// Doubles, which viewers use, hold 2^53 ns; times beyond that get a base.
constexpr Ns kExactInDoubles = Ns{1} << 53;

enum TableNumber : uint8_t { kOps, kCalls, kWork };

// Of slices that take the same time, the one that encloses the others: steps and ranges, then the
// engine's events, then calls.
uint8_t depth_of(std::string_view table) {
  constexpr std::array<std::string_view, 9> kOutermostFirst = {
      "marked_steps", "ranges", "loader",    "ops",        "copies",
      "syncs",        "calls",  "overheads", "allocations"};
  const auto place = std::find(kOutermostFirst.begin(), kOutermostFirst.end(), table);
  return static_cast<uint8_t>(place - kOutermostFirst.begin());
}

class ChromeExport {
 public:
  ChromeExport(const Trace& trace, const Sink& sink)
      : trace_(trace),
        out_(sink),
        args_(out_, trace),
        layout_(trace),
        tables_(chrome_columns(trace)),
        names_(trace.strings.size()) {}

  bool run() {
    gather();
    choose_base();
    index_work();
    chrome_header(out_, trace_, base_);
    metadata();
    for (const ChromeEvent& event : events_) {
      if (!out_.ok()) return false;
      write(event);
    }
    out_.put("\n]}\n");
    return out_.finish();
  }

 private:
  void gather() {
    events_.reserve(static_cast<size_t>(trace_.rows()));
    const auto tables = static_cast<uint8_t>(tables_.size());
    for (uint8_t k = 0; k < tables; ++k) {
      for (uint32_t row = 0; row < tables_[k].rows; ++row) {
        const Ns start = tables_[k].start[row];
        const Ns end = tables_[k].end[row];
        events_.push_back({.start = start,
                           .end = end < start ? start : end,
                           .row = row,
                           .track = track_of(k, row),
                           .lane = 0,
                           .table = k});
      }
    }
    std::vector<uint8_t> depth;
    for (const TableColumns& table : tables_) depth.push_back(depth_of(table.table));
    const auto before = [&](const ChromeEvent& a, const ChromeEvent& b) {
      if (a.start != b.start) return a.start < b.start;
      // A flow has to begin before it ends.
      if ((a.table == kWork) != (b.table == kWork)) return b.table == kWork;
      if (a.end != b.end) return a.end > b.end;
      if (depth[a.table] != depth[b.table]) return depth[a.table] < depth[b.table];
      if (a.table != b.table) return a.table < b.table;
      return a.row < b.row;
    };
    std::sort(events_.begin(), events_.end(), before);
    layout_.place(events_);
  }

  uint32_t track_of(uint8_t table, uint32_t row) const {
    const TableColumns& columns = tables_[table];
    if (columns.thread != nullptr) return layout_.thread_track(columns.thread[row]);
    if (table == kWork)
      return layout_.stream_track(trace_.work.device[row], trace_.work.stream[row]);
    if (columns.table == "managed") return layout_.managed_track(trace_.managed.device[row]);
    return kNoRow;
  }

  void choose_base() {
    if (events_.empty()) return;
    const Ns first = events_.front().start;
    Ns last = first;
    for (const ChromeEvent& event : events_) last = std::max(last, event.end);
    // A base that the times of a broken recording would overflow helps nobody.
    if (first > 0 && last > kExactInDoubles) base_ = first - first % 1000000;
  }

  // Work by its call, for the flows that leave each call.
  void index_work() {
    const Work& work = trace_.work;
    const uint32_t calls = trace_.calls.size();
    first_of_call_.assign(size_t{calls} + 1, 0);
    for (const uint32_t call : work.call) {
      if (call < calls) ++first_of_call_[call + 1];
    }
    std::partial_sum(first_of_call_.begin(), first_of_call_.end(), first_of_call_.begin());
    work_of_call_.resize(first_of_call_.back());
    std::vector<uint32_t> next(first_of_call_.begin(), first_of_call_.end() - 1);
    for (uint32_t row = 0; row < work.size(); ++row) {
      if (work.call[row] < calls) work_of_call_[next[work.call[row]]++] = row;
    }
  }

  void separate() {
    if (!first_event_) out_.put(",\n");
    first_event_ = false;
  }

  void meta(std::string_view name, uint64_t pid, const uint64_t* tid, std::string_view key) {
    separate();
    out_.put("{\"ph\":\"M\",\"ts\":0.000,\"name\":\"");
    out_.put(name);
    out_.count("\",\"pid\":", pid);
    if (tid != nullptr) out_.count(",\"tid\":", *tid);
    out_.put(",\"args\":{\"");
    out_.put(key);
    out_.put("\":");
  }

  void metadata() {
    std::unordered_set<uint64_t> used;
    for (const ChromeTrack& track : layout_.tracks()) {
      if (!track.lane_ids.empty()) used.insert(track.process);
    }
    for (const uint32_t device : trace_.counters.device) used.insert(counter_process(device));
    uint64_t place = 0;
    for (const ChromeLayout::Process& process : layout_.processes()) {
      if (!used.contains(process.id)) continue;
      meta("process_name", process.id, nullptr, "name");
      out_.text("", process.name);
      out_.put("}}");
      meta("process_labels", process.id, nullptr, "labels");
      out_.text("", process.label);
      out_.put("}}");
      meta("process_sort_index", process.id, nullptr, "sort_index");
      out_.count("", place++);
      out_.put("}}");
    }
    place = 0;
    for (const ChromeTrack& track : layout_.tracks()) {
      for (size_t lane = 0; lane < track.lane_ids.size(); ++lane) {
        std::string name = track.name;
        // Viewers name a thread by its number themselves, and then nobody takes it for its name.
        if (lane == 0 && !track.named) {
          sort_index(track, lane, place++);
          continue;
        }
        if (lane > 0) name += " (" + std::to_string(lane + 1) + ")";
        meta("thread_name", track.process, &track.lane_ids[lane], "name");
        out_.text("", name);
        out_.put("}}");
        sort_index(track, lane, place++);
      }
    }
  }

  void sort_index(const ChromeTrack& track, size_t lane, uint64_t place) {
    meta("thread_sort_index", track.process, &track.lane_ids[lane], "sort_index");
    out_.count("", place);
    out_.put("}}");
  }

  std::string_view category(const ChromeEvent& event) const {
    switch (event.table) {
      case kOps: return "cpu_op";
      case kCalls: {
        const std::string_view name = trace_.strings.text(trace_.calls.name[event.row]);
        const bool driver =
            name.size() > 2 && name.starts_with("cu") && name[2] >= 'A' && name[2] <= 'Z';
        return driver ? "cuda_driver" : "cuda_runtime";
      }
      case kWork:
        switch (static_cast<WorkKind>(trace_.work.kind[event.row])) {
          case WorkKind::kernel: return "kernel";
          case WorkKind::copy: return "gpu_memcpy";
          case WorkKind::fill: return "gpu_memset";
          default: return "millrace.work";
        }
      default: return {};
    }
  }

  // Words for rows of tables without names.
  std::string words(const ChromeEvent& event) const {
    const std::string_view table = tables_[event.table].table;
    const uint32_t row = event.row;
    const auto kind = [&](uint8_t code) { return std::string(code_text(table, "kind", code)); };
    if (table == "copies") {
      const auto memory = [&](const char* column, uint8_t code) {
        const std::string_view name = code_text(table, column, code);
        return name.empty() ? std::string("unknown") : std::string(name);
      };
      return "copy " + memory("from", trace_.copies.from[row]) + " to " +
             memory("to", trace_.copies.to[row]);
    }
    if (table == "syncs") return "wait " + kind(trace_.syncs.kind[row]);
    if (table == "allocations") return "memory " + kind(trace_.allocations.kind[row]);
    if (table == "loader") return "loader " + kind(trace_.loader.kind[row]);
    if (table == "marked_steps")
      return "ProfilerStep#" + std::to_string(trace_.marked_steps.number[row]);
    if (table == "managed") return "pages " + kind(trace_.managed.kind[row]);
    return std::string(table);
  }

  // Viewers hide slices without a name.
  void put_name(const ChromeEvent& event, std::string_view unnamed = "\"(no name)\"") {
    const uint32_t* names = tables_[event.table].name;
    if (names == nullptr) {
      out_.json(words(event));
      return;
    }
    const uint32_t id = names[event.row];
    if (id >= names_.size() || trace_.strings.text(id).empty()) {
      out_.put(unnamed);
      return;
    }
    if (names_[id].empty()) names_[id] = json_string(trace_.strings.text(id));
    out_.put(names_[id]);
  }

  void place(uint64_t pid, uint64_t tid, Ns time) {
    out_.count(",\"pid\":", pid);
    out_.count(",\"tid\":", tid);
    out_.put(",\"ts\":");
    // base_ is not 0 only where no time is below it.
    out_.micros(time - base_);
  }

  void write(const ChromeEvent& event) {
    const TableColumns& table = tables_[event.table];
    if (table.table == "counters") {
      counter(event);
      return;
    }
    const uint64_t pid = layout_.tracks()[event.track].process;
    const uint64_t tid = layout_.tid(event);
    separate();
    out_.put("{\"ph\":\"X\",\"cat\":\"");
    const std::string_view cat = category(event);
    if (cat.empty()) out_.put("millrace.");
    out_.put(cat.empty() ? table.table : cat);
    out_.put("\",\"name\":");
    put_name(event);
    place(pid, tid, event.start);
    out_.put(",\"dur\":");
    const Ns end = table.end[event.row];
    const uint64_t length = static_cast<uint64_t>(event.end) - static_cast<uint64_t>(event.start);
    // Readers count in int64.
    const uint64_t shown = std::min<uint64_t>(length, INT64_MAX);
    out_.micros_natural(shown);
    out_.put(",\"args\":{");
    args_.begin();
    if (end != event.end || shown != length) {
      args_.add("\"end\":");
      out_.integer(end);
    }
    if (table.thread != nullptr) put_thread(table.thread[event.row], pid, tid);
    if (table.name != nullptr && trace_.strings.text(table.name[event.row]).empty())
      args_.add("\"unnamed\":true");
    for (const ArgColumn& column : table.args) args_.column(column, event.row);
    out_.put("}}");
    if (event.table == kCalls) {
      for (uint32_t k = first_of_call_[event.row]; k < first_of_call_[event.row + 1]; ++k) {
        if (trace_.work.start[work_of_call_[k]] >= event.start)
          flow('s', work_of_call_[k], pid, tid, event.start);
      }
    } else if (event.table == kWork) {
      const uint32_t call = trace_.work.call[event.row];
      if (call < trace_.calls.size() && event.start >= trace_.calls.start[call])
        flow('f', event.row, pid, tid, event.start);
    }
  }

  void put_thread(uint32_t thread, uint64_t pid, uint64_t tid) {
    if (thread >= trace_.threads.size()) return;
    const ThreadInfo& info = trace_.threads[thread];
    if (info.process != pid) {
      args_.add("\"process\":");
      out_.natural(info.process);
    }
    if (info.number != tid) {
      args_.add("\"thread\":");
      out_.natural(info.number);
    }
  }

  uint64_t counter_process(uint32_t device) const {
    return device < trace_.devices.size() ? layout_.device_process(device) : layout_.host_process();
  }

  void counter(const ChromeEvent& event) {
    const uint32_t device = trace_.counters.device[event.row];
    const bool known = device < trace_.devices.size();
    separate();
    out_.put("{\"ph\":\"C\",\"cat\":\"millrace.counters\",\"name\":");
    put_name(event, "\"\"");
    place(counter_process(device), 0, event.start);
    if (known) out_.count(",\"device\":", trace_.devices[device].number);
    out_.figure(",\"args\":{\"value\":", trace_.counters.value[event.row]);
    out_.put("}}");
  }

  void flow(char phase, uint32_t work, uint64_t pid, uint64_t tid, Ns time) {
    separate();
    out_.put("{\"ph\":\"");
    out_.put(phase);
    out_.put("\",\"cat\":\"ac2g\",\"name\":\"ac2g\"");
    out_.count(",\"id\":", uint64_t{work} + 1);
    place(pid, tid, time);
    out_.put(phase == 'f' ? ",\"bp\":\"e\"}" : "}");
  }

  const Trace& trace_;
  Writer out_;
  ChromeArgs args_;
  ChromeLayout layout_;
  std::vector<TableColumns> tables_;
  std::vector<ChromeEvent> events_;
  std::vector<uint32_t> first_of_call_;
  std::vector<uint32_t> work_of_call_;
  std::vector<std::string> names_;  // as JSON, by id, once used
  Ns base_ = 0;
  bool first_event_ = true;
};

}  // namespace

bool export_chrome(const Analysis& analysis, const Sink& sink) {
  return ChromeExport(analysis.trace(), sink).run();
}

}  // namespace mill::prof
