#include "device/timeline.h"

#include "device/device.h"

namespace mill {

size_t Timeline::fetch(mill_timeline_record* out, size_t capacity, uint64_t* lost) {
  mill_kernel_error error{};
  uint64_t n = 0;
  check(functions_->drain(self_, out, capacity, &n, lost, &error), error);
  return n;
}

bool Timeline::wants(Reader reader, const mill_timeline_record& record) const {
  const uint32_t bit = record.kind == MILL_TIMELINE_CALL ? MILL_TIMELINE_CALLS : MILL_TIMELINE_WORK;
  const uint32_t now = what_[static_cast<size_t>(reader)];
  // What it left in the device when it wanted no more is still the program's.
  const bool left = reader == Reader::program && now == 0 && what_[1] == 0;
  return ((left ? program_had_ : now) & bit) != 0;
}

// What has been recorded up to here belongs to who wanted it then.
void Timeline::settle() {
  readers_.settle([this](auto* out, size_t room, uint64_t* lost) { return fetch(out, room, lost); },
                  [this](Reader who, const auto& record) { return wants(who, record); });
}

void Timeline::want(Reader reader, uint32_t next) {
  const std::lock_guard lock(mutex_);
  const uint32_t others = what(other_of(reader));
  const uint32_t before = what(reader) | others;
  const uint32_t both = next | others;
  const bool begins = reader == Reader::session && before == 0 && next != 0;
  if (begins && program_had_ != 0) readers_.listen(Reader::program, true);
  if (what(reader) != next && (others != 0 || readers_.due(reader) || (begins && program_had_))) {
    try {
      settle();
    } catch (...) {
      if (next != 0) throw;  // to want no more works always
    }
  }
  mill_kernel_error error{};
  // Again where nothing changes for the device: so the program hears what the device says of it.
  if (both != before || others == 0) {
    check(both != 0 ? functions_->start(self_, both, &error) : functions_->stop(self_, &error),
          error);
  }
  if (reader == Reader::session) readers_.forget(reader);  // at its end it has drained before
  if (reader == Reader::program && next != 0) program_had_ = next;
  what(reader) = next;
  readers_.listen(reader, next != 0);
  if (begins) readers_.listen(Reader::program, false);
}

void Timeline::drain(Reader reader, mill_timeline_record* out, uint64_t capacity, uint64_t* count,
                     uint64_t* lost) {
  const std::lock_guard lock(mutex_);
  const auto from_device = [this](mill_timeline_record* to, size_t room, uint64_t* gone) {
    return fetch(to, room, gone);
  };
  // Alone, a reader gets whatever the device gives.
  const bool alone = what(other_of(reader)) == 0 && !readers_.due(reader);
  *count = alone ? fetch(out, capacity, lost)
                 : readers_.take(reader, out, capacity, lost, from_device,
                                 [this](Reader who, const mill_timeline_record& record) {
                                   return wants(who, record);
                                 });
}

}  // namespace mill
