// The bounded store of a session: engine and device records as rows of tables, the newest kept.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "millrace/trace.h"
#include "profiler/timeline/trace.h"

namespace mill::prof {

// What the store asks of the session when it meets something new.
class RecordNames {
 public:
  virtual ~RecordNames() = default;
  virtual std::string engine_text(uint32_t id) = 0;
  virtual std::string op_name(int32_t op) = 0;
  virtual std::string thread_name(uint32_t thread) = 0;
};

// Two halves: when the younger one is full the older one is given up and they change places, so
// that nothing is moved and memory stays below the limit. Not thread safe.
class RecordStore {
 public:
  RecordStore(RecordNames& names, uint64_t limit_bytes);

  // mill_trace_record.clock of the records to keep; others are counted. Setting it gives up what
  // was kept.
  uint16_t clock() const { return clock_; }
  void set_clock(uint16_t clock);

  // What does not change with the rows: devices, source. Threads, streams and strings grow in it.
  Trace& base() { return base_; }

  void add(const mill_trace_record& record);
  void add(uint32_t device, const mill_timeline_record& record);
  void count(const char* counter, uint32_t device, Ns time, double value);

  // A copy of everything, with losses. lost: dropped before the store saw it.
  Trace copy(uint64_t lost) const;

  uint64_t records() const { return records_; }
  uint64_t forgotten() const { return forgotten_; }
  uint64_t bytes() const { return older_.bytes() + younger_.bytes(); }
  // What came before this is given up, but for records that came late.
  Ns kept_from() const { return kept_from_; }

 private:
  uint32_t thread(uint32_t number);
  uint32_t stream(uint32_t device, uint64_t number);
  uint32_t engine_text(uint32_t id);
  uint32_t op_name(int32_t op);
  uint32_t kernel_name(const char* name);
  void make_room();

  void add_op(const mill_trace_record& record);
  void add_copy(const mill_trace_record& record);
  void add_allocation(const mill_trace_record& record);
  void add_sync(const mill_trace_record& record);
  void add_loader(const mill_trace_record& record);
  void add_step(const mill_trace_record& record);
  void add_range(const mill_trace_record& record);
  void add_call(uint32_t device, const mill_timeline_record& record);

  RecordNames& names_;
  const uint64_t half_;
  uint16_t clock_ = 0;
  Trace base_;
  Trace older_;
  Trace younger_;
  uint64_t records_ = 0;
  uint64_t forgotten_ = 0;
  uint64_t other_clock_ = 0;
  uint32_t unchecked_ = 0;    // rows since the size was looked at
  Ns last_ = 0;               // the last end so far
  Ns swapped_ = INT64_MIN;    // that at the last change of places
  Ns kept_from_ = INT64_MIN;  // and at the one before

  std::unordered_map<uint32_t, uint32_t> threads_;
  std::unordered_map<uint64_t, uint32_t> streams_;  // device << 48 ^ number
  std::unordered_map<int32_t, uint32_t> op_names_;
  std::unordered_map<const char*, uint32_t> kernel_names_;
  std::vector<uint32_t> engine_texts_;  // by id, kNoRow: not asked yet
  // Marks and ranges of the program's threads that use no exec.
  struct Open {
    Ns start;
    uint32_t name;
  };
  struct OpenRanges {
    std::vector<Open> open;
    uint64_t deeper = 0;  // more, which are not kept
  };
  std::unordered_map<uint32_t, OpenRanges> open_ranges_;
  std::unordered_map<uint32_t, std::pair<Ns, int64_t>> open_steps_;  // start, number
};

}  // namespace mill::prof
