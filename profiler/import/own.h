// What Millrace itself writes: the export of a trace (format 1, described in export/chrome.cpp),
// which comes back whole, and the engine's own timeline, whose events are its records.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "profiler/import/event.h"
#include "profiler/import/store.h"

namespace mill::prof {

class OwnReader {
 public:
  explicit OwnReader(Store& store) : store_(store), trace_(store.trace()) {}

  // The member "millrace" of the file. False: not of a format that is known.
  bool header(std::string_view json);
  // The file is an export.
  bool active() const { return active_; }
  // A slice of an export. False: of no table.
  bool slice(const Event& event, Ns start, Ns end);
  void counter(const Event& event, Ns time);

  // Whether an event of such a category is a record of the engine.
  static bool is_record(const Event& event);
  // A record; False: of a kind that is not known.
  bool record(const Event& event, Ns start, Ns end);

 private:
  template <class T>
  void fill(T& table, uint32_t row, const char* table_name, const Event& event);
  // The enumerator that code_text names so; 0: none.
  uint8_t code(const char* table, const char* column, std::string_view text);
  uint32_t stream_of(const Event& event, std::string_view number);
  uint32_t device_where(uint8_t memory, uint64_t number);
  void step(const Event& event, Ns start, Ns end);

  struct Codes {
    const char* table;
    const char* column;
    std::vector<std::string_view> texts;
  };

  Store& store_;
  Trace& trace_;
  bool active_ = false;
  std::vector<Codes> codes_;
  struct OpenStep {
    Ns start = 0;
    int64_t number = 0;
  };
  std::unordered_map<uint64_t, OpenStep> open_steps_;  // of a session, by thread
  bool clock_known_ = false;
  uint64_t clock_ = 0;  // of the first record; times of another cannot stand beside its own
};

}  // namespace mill::prof
