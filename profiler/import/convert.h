// Makes rows of a trace out of trace events, whichever dialect they are in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "profiler/import/event.h"
#include "profiler/import/import.h"
#include "profiler/import/names.h"
#include "profiler/import/own.h"
#include "profiler/import/store.h"

namespace mill::prof {

class Converter {
 public:
  Converter(const ImportOptions& options, Trace& trace);

  // A member of the outermost object beside the events.
  void header(std::string_view key, std::string_view json);
  // at: where the event begins in the text.
  void event(const Event& event, uint64_t at);
  // An event that could not be read; `reason` is a static text, such as "is not an object".
  void skip(const char* reason, uint64_t at);
  // Joins what stood in different places, writes notes.
  void finish();

  uint64_t events() const { return events_; }

 private:
  enum class Table : uint8_t { none, ops, calls, work, ranges, loader, overheads };
  struct Row {
    Table table = Table::none;
    uint32_t row = kNoRow;
  };
  struct Span {
    Ns start;
    Ns end;
  };

  // False, counted: the event has no time, or none that can be.
  bool time(std::string_view text, const char* missing, uint64_t at, Ns* out);
  EventClass class_of(const Event& event);
  Row slice(const Event& event, Span span);
  Row add_op(const Event& event, Span span);
  Row add_range(const Event& event, Span span, RangeKind kind);
  Row add_loader(const Event& event, Span span);
  Row add_call(const Event& event, Span span);
  Row add_work(const Event& event, Span span, EventClass is);
  Row add_overhead(const Event& event, Span span);
  void add_sync(const Event& event);
  void begin(const Event& event, Ns start);
  void end(const Event& event, Ns time, uint64_t at);
  void set_end(Row row, Ns end);
  void instant(const Event& event, Ns time);
  void add_memory(const Event& event, Ns time);
  void counter(const Event& event, Ns time);
  void flow(const Event& event, Ns time);
  void metadata(const Event& event);
  uint32_t thread_of(const Event& event);
  void remember_correlation(const Event& event, Span span, Row row, uint64_t correlation);

  void properties(std::string_view json);
  void close_open();
  void correlate_by_flows();
  void find_whole_graphs();
  void check_instances();
  void link_backward();
  void apply_syncs();
  void shift(Ns by);
  void write_notes();

  Store store_;
  Trace& trace_;
  OwnReader own_;
  uint64_t events_ = 0;
  Ns base_ = 0;       // of the times in the file, where it came before them
  Ns late_base_ = 0;  // ... where it came after them
  Ns last_ = INT64_MIN;
  bool kineto_ = false;
  bool engine_ = false;

  std::string last_category_;
  EventClass last_class_ = EventClass::unknown;
  std::vector<std::pair<bool, CallClass>> call_classes_;  // by string id

  struct Skipped {
    const char* reason;
    uint64_t count;
    uint64_t first;
  };
  std::vector<Skipped> skipped_;

  struct Open {
    std::vector<Row> rows;
    uint64_t beyond = 0;  // opened when there was no room to remember them
  };
  std::unordered_map<PairKey, Open, PairHash> open_;
  uint64_t open_rows_ = 0;

  // Flows count only in a file whose events have no correlation of their own.
  bool correlated_ = false;
  struct Uncorrelated {
    PairKey track;
    Span span;
    Row row;
  };
  struct Flow {
    PairKey track;
    Ns time;
    uint64_t id;
    bool begins;
    bool encloses;  // belongs to the slice around it, else to the next one
  };
  std::vector<Uncorrelated> uncorrelated_;
  std::vector<Flow> flows_;

  struct Sequence {
    uint64_t number;
    uint32_t op;
    bool backward;
  };
  std::vector<Sequence> sequences_;

  struct Sync {
    uint64_t correlation;
    uint64_t record;  // correlation of the event's record
    uint32_t device;
    uint32_t stream;
    uint32_t record_stream;
  };
  std::vector<Sync> syncs_;

  std::unordered_map<uint64_t, DeviceInfo> properties_;
};

}  // namespace mill::prof
