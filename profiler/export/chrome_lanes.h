// Where each event of a Chrome trace is drawn. Viewers refuse slices of one track that overlap
// without nesting, so those go to further lanes of their track.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "profiler/timeline/trace.h"

namespace mill::prof {

// Its name, with the number unless the name says it.
std::string thread_text(const ThreadInfo& thread);

// One event: a row of a table, and its place.
struct ChromeEvent {
  Ns start = 0;
  Ns end = 0;  // at least start
  uint32_t row = 0;
  uint32_t track = 0;  // kNoRow: on none, as counters are
  uint32_t lane = 0;
  uint8_t table = 0;  // in order of for_each_table
};

// The slices of one lane; they come by start, and of one start the longest first.
class Lane {
 public:
  bool takes(Ns start, Ns end) {
    while (!ends_.empty() && ends_.back() <= start) ends_.pop_back();
    return ends_.empty() || ends_.back() >= end;
  }
  void add(Ns end) { ends_.push_back(end); }

 private:
  std::vector<Ns> ends_;  // of the slices that enclose the next one, outermost first
};

struct ChromeTrack {
  uint64_t process = 0;
  std::string name;
  uint64_t number = 0;               // the thread or stream, where viewers take it; of lane 0
  bool named = true;                 // by more than that number
  std::vector<uint64_t> lane_ids{};  // tid of each lane, once numbered
  // The first lanes take whatever nests. A recording that fills them all has thousands of
  // overlapping slices; the rest take slices one after the other, found by a heap, so that no
  // recording makes this quadratic.
  static constexpr size_t kNesting = 8;
  std::vector<Lane> nesting{};
  std::vector<std::pair<Ns, uint32_t>> flat{};  // min-heap of (free from, lane)

  uint32_t place(Ns start, Ns end);
};

// Processes and tracks of a trace: host threads by process, then devices with a track for each
// stream.
class ChromeLayout {
 public:
  explicit ChromeLayout(const Trace& trace);

  uint32_t thread_track(uint32_t thread) const;
  // Of a stream, or of a device's work of which no stream is known.
  uint32_t stream_track(uint32_t device, uint32_t stream) const;
  uint32_t managed_track(uint32_t device) const;
  uint64_t device_process(uint32_t device) const;
  uint64_t host_process() const { return host_process_; }

  // Puts events, in order, into lanes, and numbers the lanes.
  void place(std::vector<ChromeEvent>& events);

  struct Process {
    uint64_t id;
    std::string name;
    std::string label;
  };
  const std::vector<Process>& processes() const { return processes_; }
  const std::vector<ChromeTrack>& tracks() const { return tracks_; }
  uint64_t tid(const ChromeEvent& event) const { return tracks_[event.track].lane_ids[event.lane]; }

 private:
  uint32_t add_track(uint64_t process, std::string name, uint64_t number);

  std::vector<Process> processes_;
  std::vector<ChromeTrack> tracks_;
  uint64_t host_process_ = 0;
  size_t threads_ = 0;
  size_t devices_ = 0;
  std::vector<uint64_t> device_processes_;  // the last: of an unknown device
  uint32_t unknown_thread_ = 0;
  uint32_t first_stream_ = 0;     // track of stream 0
  uint32_t first_no_stream_ = 0;  // track of device 0's work without a stream
  uint32_t first_managed_ = 0;
  size_t streams_ = 0;
};

}  // namespace mill::prof
