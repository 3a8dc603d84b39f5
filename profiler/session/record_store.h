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

// What the ids and numbers of records are in a trace.
struct RecordIds {
  std::unordered_map<uint32_t, uint32_t> threads;
  uint32_t backward = 0;                           // a name
  std::array<uint32_t, 256> builtin_names{};       // by op, 0: not asked yet
  std::unordered_map<int32_t, uint32_t> op_names;  // of all others
  std::vector<uint32_t> engine_texts;              // by id, kNoRow: not asked yet

  // Most records come from the thread that the one before came from: number, index.
  mutable std::pair<uint32_t, uint32_t> last_thread{0, kNoRow};

  // Of what has been met. One thread at a time.
  uint32_t thread(uint32_t number) const;
  uint32_t op_name(int32_t op) const;
  uint32_t engine_text(uint32_t id) const;
};

// Records in pieces that stay where they are and are used again, but for those that a view holds.
class RecordChunks {
 public:
  using Chunk = std::shared_ptr<mill_trace_record[]>;

  // Throws std::bad_alloc; it is then as before.
  void add(const mill_trace_record& record) {
    const uint64_t at = size_ / kChunk;
    if (size_ == kChunk * chunks_.size()) {
      chunks_.push_back(fresh());
    } else if (size_ % kChunk == 0 && chunks_[at].use_count() > 1) {
      chunks_[at] = fresh();
    }
    chunks_[at][static_cast<std::ptrdiff_t>(size_ % kChunk)] = record;
    ++size_;
    ++counts_[static_cast<uint32_t>(record.kind) % counts_.size()];
  }
  uint64_t size() const { return size_; }
  uint64_t count(int32_t kind) const { return counts_[static_cast<uint32_t>(kind)]; }
  void clear() {  // keeps the memory
    size_ = 0;
    counts_ = {};
  }
  // Of what there is: more may be added to the original meanwhile, and all of it cleared.
  RecordChunks view() const {
    RecordChunks out;
    out.chunks_ = {chunks_.begin(),
                   chunks_.begin() + static_cast<std::ptrdiff_t>((size_ + kChunk - 1) / kChunk)};
    out.size_ = size_;
    out.counts_ = counts_;
    return out;
  }
  template <class F>
  void for_each(F&& f) const {
    for (uint64_t k = 0; k < size_; ++k)
      f(chunks_[k / kChunk][static_cast<std::ptrdiff_t>(k % kChunk)]);
  }

 private:
  static constexpr uint64_t kChunk = 1024;
  static Chunk fresh() { return std::make_shared_for_overwrite<mill_trace_record[]>(kChunk); }

  std::vector<Chunk> chunks_;
  uint64_t size_ = 0;
  std::array<uint64_t, 16> counts_{};  // by kind
};

// What a store holds at one time. Making it takes little time, whatever the number of records;
// turning it into tables does not touch the store. It is made and destroyed where the store is not
// in use: that writes over memory which no copy holds.
class RecordCopy {
 public:
  // Once.
  Trace tables();

 private:
  friend class RecordStore;
  Trace rows_;
  RecordIds ids_;
  std::array<RecordChunks, 2> records_;
};

inline Ns record_ns(uint64_t value) {
  return static_cast<Ns>(std::min<uint64_t>(value, INT64_MAX / 2));
}
// Adds a record, of a kind that a store keeps as it came, to the table of its kind.
void add_record(const RecordIds& ids, const mill_trace_record& record, Trace& to);

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

  // Everything, with losses. lost: dropped before the store saw it.
  RecordCopy copy(uint64_t lost) const;

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

  RecordIds ids_;
  std::unordered_map<uint64_t, uint32_t> streams_;  // device << 48 ^ number
  std::array<uint32_t, 16> call_names_{};           // by kind, 0: not met yet
  std::unordered_map<const char*, uint32_t> kernel_names_;
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
