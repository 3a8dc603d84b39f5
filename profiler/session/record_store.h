// The bounded store of a session: what the engine and its devices recorded, the newest kept. The
// engine's records come while the program wants its cores, so that most of them stay as they are
// and become rows of tables only when the store is copied.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
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

// Records in pieces that stay where they are and are used again.
class RecordChunks {
 public:
  // Throws std::bad_alloc; it is then as before.
  void add(const mill_trace_record& record) {
    if (size_ == kChunk * chunks_.size())
      chunks_.push_back(std::make_unique_for_overwrite<mill_trace_record[]>(kChunk));
    chunks_[size_ / kChunk][size_ % kChunk] = record;
    ++size_;
    ++counts_[static_cast<uint32_t>(record.kind) % counts_.size()];
  }
  uint64_t size() const { return size_; }
  uint64_t count(int32_t kind) const { return counts_[static_cast<uint32_t>(kind)]; }
  void clear() {  // keeps the memory
    size_ = 0;
    counts_ = {};
  }
  template <class F>
  void for_each(F&& f) const {
    for (uint64_t k = 0; k < size_; ++k) f(chunks_[k / kChunk][k % kChunk]);
  }

 private:
  static constexpr uint64_t kChunk = 1024;
  std::vector<std::unique_ptr<mill_trace_record[]>> chunks_;
  uint64_t size_ = 0;
  std::array<uint64_t, 16> counts_{};  // by kind
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

  // Everything as tables, with losses. lost: dropped before the store saw it.
  Trace copy(uint64_t lost);

  uint64_t records() const { return records_; }
  uint64_t forgotten() const { return forgotten_; }
  uint64_t bytes() const { return older_.bytes() + younger_.bytes(); }
  // What came before this is given up, but for records that came late.
  Ns kept_from() const { return kept_from_; }

 private:
  struct Half {
    RecordChunks records;
    Trace rows;  // of what needs what came before it: steps, ranges; and of devices
    uint64_t size() const { return records.size() + rows.rows(); }
    uint64_t bytes() const { return records.size() * sizeof(mill_trace_record) + rows.bytes(); }
    void clear() {
      records.clear();
      for_each_table(rows, [](const char*, auto& table) { table.clear(); });
    }
  };

  uint32_t thread(uint32_t number);
  uint32_t stream(uint32_t device, uint64_t number);
  uint32_t engine_text(uint32_t id);
  uint32_t op_name(int32_t op);
  uint32_t kernel_name(const char* name);
  void make_room();

  static Ns ns(uint64_t value) { return static_cast<Ns>(std::min<uint64_t>(value, INT64_MAX / 2)); }
  template <class T>
  uint32_t add_span(T& table, const mill_trace_record& record);
  void add_row(Trace& to, const mill_trace_record& record);
  void add_op(Trace& to, const mill_trace_record& record);
  void add_copy(Trace& to, const mill_trace_record& record);
  void add_allocation(Trace& to, const mill_trace_record& record);
  void add_sync(Trace& to, const mill_trace_record& record);
  void add_loader(Trace& to, const mill_trace_record& record);
  void add_step(const mill_trace_record& record);
  void add_range(const mill_trace_record& record);
  void add_call(uint32_t device, const mill_timeline_record& record);

  RecordNames& names_;
  const uint64_t half_;
  uint16_t clock_ = 0;
  Trace base_;
  Half older_;
  Half younger_;
  uint64_t records_ = 0;
  uint64_t forgotten_ = 0;
  uint64_t other_clock_ = 0;
  uint32_t unchecked_ = 0;    // rows since the size was looked at
  Ns last_ = 0;               // the last end so far
  Ns swapped_ = INT64_MIN;    // that at the last change of places
  Ns kept_from_ = INT64_MIN;  // and at the one before

  std::unordered_map<uint32_t, uint32_t> threads_;
  std::pair<uint32_t, uint32_t> last_thread_{0, kNoRow};  // number, index
  std::unordered_map<uint64_t, uint32_t> streams_;        // device << 48 ^ number
  uint32_t backward_ = 0;                                 // a name
  std::array<uint32_t, 256> builtin_names_{};             // by op, 0: not asked yet
  std::unordered_map<int32_t, uint32_t> op_names_;        // of all others
  std::array<uint32_t, 16> call_names_{};                 // by kind, 0: not met yet
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
