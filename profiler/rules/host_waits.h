// Where the host stood still for a device, and what that did to the device.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/rules/rules.h"

namespace mill::prof::rule {

struct HostWait {
  Interval time;
  uint32_t thread = kNoRow;
  uint32_t device = kNoRow;
  uint32_t call = kNoRow;       // in Calls; kNoRow: only the engine told of it
  uint32_t sync = kNoRow;       // in Syncs
  std::vector<uint32_t> reads;  // rows of Work: the small copies to the host that it waits for
  bool value_read = false;      // the engine says that a value was waited for
  // From when the device ran dry during the wait to what it did next; 0: it had other work, or had
  // been idle before, or nothing followed.
  Ns idle = 0;
  uint32_t gap_end = kNoRow;  // in Work: what it did next
  bool is_read() const { return value_read || !reads.empty(); }
};

// By device and start. Blocking copies that are not small are left to the rules about copies.
// Idleness that several waits share is given to a read, else to the first.
std::vector<HostWait> host_waits(const RuleInput& input);

// Makes the host not wait: `rows` is Plan::unblock or Plan::defer.
void plan_wait(const HostWait& wait, std::vector<uint32_t>& rows, Plan& plan);

}  // namespace mill::prof::rule
