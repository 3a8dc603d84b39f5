// The engine as a session sees it: the host table's functions with errors as texts.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "millrace/profiler_plugin.h"
#include "profiler/session/record_store.h"
#include "profiler/timeline/trace.h"

namespace mill::prof {

class Engine final : public RecordNames {
 public:
  static constexpr size_t kPiece = 1024;  // 128 KiB: still in the cache when it is stored

  Engine(const mill_profiler_host& host, mill_context* context) : host_(host), context_(context) {}

  std::string engine_text(uint32_t id) override;
  std::string op_name(int32_t op) override;
  std::string thread_name(uint32_t thread) override;

  // Every device of the context, in order of its number.
  std::vector<DeviceInfo> devices() const;
  // What the session wants recorded; 0: nothing.
  mill_status set_mask(uint64_t mask, std::string* why) const;
  // Whether the device has a timeline at all.
  bool has_timeline(uint32_t device) const;
  // false: the device keeps no timeline, *why says why.
  bool watch(uint32_t device, bool on, std::string* why) const;
  // Some of what is finished, kPiece if there may be more; it stays until the next call. *lost
  // grows by how many records were lost since the last time. Throw std::bad_alloc.
  std::span<const mill_trace_record> take(uint64_t* lost) const;
  std::span<const mill_timeline_record> take(uint32_t device, uint64_t* lost) const;
  bool memory(uint32_t device, mill_memory_stats* out) const;
  Ns now() const;  // CLOCK_MONOTONIC
  // Sleeps until a ring is half full, wake() was called since the last time, or so long.
  void rest(Ns longest) const { host_.session_wait(context_, static_cast<uint64_t>(longest)); }
  void wake() const { host_.session_wake(context_); }

 private:
  const mill_profiler_host& host_;
  mill_context* context_;
  mutable std::unique_ptr<mill_trace_record[]> records_;
  mutable std::unique_ptr<mill_timeline_record[]> timeline_;
};

}  // namespace mill::prof
