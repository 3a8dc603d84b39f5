// The timeline of a device, for the program and for a profiler's session beside it: each says what
// it wants, and gets all of that.
#pragma once

#include <cstdint>
#include <mutex>

#include "millrace/plugin.h"
#include "trace/readers.h"

namespace mill {

// Any thread. The table outlives it.
class Timeline {
 public:
  // functions: null where the device keeps no timeline.
  Timeline(const mill_timeline_functions* functions, void* self)
      : functions_(functions), self_(self) {}

  // MILL_TIMELINE_...; 0: nothing from here on, and a session's records are forgotten. Throws what
  // the device reports; what it wanted is then as before.
  void want(Reader reader, uint32_t what);
  // As mill_device_drain.
  void drain(Reader reader, mill_timeline_record* out, uint64_t capacity, uint64_t* count,
             uint64_t* lost);

 private:
  static constexpr size_t kMost = size_t{1} << 18;  // records kept for the other reader

  size_t fetch(mill_timeline_record* out, size_t capacity, uint64_t* lost);
  bool wants(Reader reader, const mill_timeline_record& record) const;
  void settle();
  uint32_t& what(Reader reader) { return what_[static_cast<size_t>(reader)]; }

  const mill_timeline_functions* functions_;
  void* self_;
  std::mutex mutex_;  // everything below
  uint32_t what_[2] = {0, 0};
  uint32_t program_had_ = 0;  // the last that the program wanted, since it may drain later
  Readers<mill_timeline_record> readers_{kMost};
};

}  // namespace mill
