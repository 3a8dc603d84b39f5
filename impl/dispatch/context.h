// The context: devices, custom ops, the trace. Ends when its last child is gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/handle.h"
#include "device/device.h"
#include "dispatch/op_rules.h"
#include "millrace/context.h"
#include "millrace/op.h"
#include "trace/op_stats.h"
#include "trace/tracer.h"

namespace mill {

// A user's op. The row points into the strings beside it; both live as long as the context.
struct CustomOp {
  std::string name;
  std::vector<InputRow> inputs;
  std::vector<OutputRow> outputs;
  OpRow row{};
  mill_custom_op callbacks{};
};

// The devices of a context. They are added and never taken away, so that a number read once stays
// good without a lock.
class DeviceList {
 public:
  static constexpr uint32_t kMost = 64;

  uint32_t size() const { return n_.load(std::memory_order_acquire); }
  Device& operator[](uint32_t k) const { return *devices_[k]; }
  // One caller at a time.
  void add(std::unique_ptr<Device> device) {
    const uint32_t n = n_.load(std::memory_order_relaxed);
    devices_[n] = std::move(device);
    n_.store(n + 1, std::memory_order_release);
  }
  void clear() {
    const uint32_t n = n_.exchange(0);
    for (uint32_t k = n; k-- > 0;) devices_[k].reset();
  }

 private:
  std::unique_ptr<Device> devices_[kMost];
  std::atomic<uint32_t> n_{0};
};

class HostServices;

// The profiler session that runs: the rings are its, and it is told of new devices.
class ProfileWatch {
 public:
  // False where a session runs already.
  bool begin(void* session, void (*added)(void* session)) {
    const std::lock_guard lock(mutex_);
    if (session_) return false;
    session_ = session;
    device_added_ = added;
    return true;
  }
  void end() {
    const std::lock_guard lock(mutex_);
    session_ = nullptr;
  }
  void device_added() {
    const std::lock_guard lock(mutex_);
    if (session_) device_added_(session_);
  }

 private:
  std::mutex mutex_;
  void* session_ = nullptr;
  void (*device_added_)(void* session) = nullptr;
};

// The rules of every custom op: what a tape keeps for its backward callback, and the call of it.
extern const OpRules custom_rules;

}  // namespace mill

struct mill_context : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::context;
  static constexpr uint32_t kMaxCustomOps = 4096;

  explicit mill_context(const mill_context_opts& opts);
  ~mill_context();

  uint32_t fork_generation = 0;
  mill::DeviceList devices;
  mill::Tracer tracer;
  mill::ProfileWatch profile;
  // Before the context ends, with its last reference gone; null: nothing to do.
  void (*ending)(mill_context* context) noexcept = nullptr;
  std::atomic<uint64_t> next_id{1};  // storages, execs, tensors as the trace names them

  // Throws MILL_E_ARG for an unknown number. No lock: custom rows are published with release order
  // and never move.
  const mill::OpRow& row(int32_t op) const {
    if (op >= 0 && op < kTableSpan && rows_[op]) [[likely]]
      return *rows_[op];
    return custom_row(op);
  }
  const mill::OpRow* find(const char* name);
  // "sim:a100", "cuda": its number. Throws what the plugin reports.
  uint32_t open_device(const std::string& spec);
  const mill::CustomOp* custom(int32_t op) const;
  int32_t add_custom(const mill_custom_op& op);
  uint32_t custom_count() const { return n_custom_.load(std::memory_order_acquire); }
  // Throws what Tracer::set_mask throws; the mask is then as before.
  void set_trace_mask(uint64_t mask);
  void set_session_mask(uint64_t mask);
  uint32_t tag(const char* name);
  int32_t find_tag(const char* name);  // -1: never set
  const char* tag_name(uint32_t tag);  // null when there is none; lives as long as the context

 private:
  static constexpr int32_t kTableSpan = static_cast<int32_t>(mill::kBuiltinOps);
  const mill::OpRow& custom_row(int32_t op) const;

  void add_device(std::unique_ptr<mill::Device> device);
  void tell_allocators();

  std::mutex device_mutex_;  // one device is added at a time
  std::vector<std::unique_ptr<mill::HostServices>> services_;
  const mill::OpRow* rows_[kTableSpan] = {};
  std::mutex custom_mutex_;
  std::atomic<uint32_t> n_custom_{0};
  std::unique_ptr<std::unique_ptr<mill::CustomOp>[]> custom_;
  std::mutex tag_mutex_;
  std::deque<std::string> tags_;  // never move: their texts are handed out
};

inline void retain(mill_context* context) noexcept {
  context->retain();
}
void release_context(mill::Handle* context) noexcept;
inline void release(mill_context* context) noexcept {
  release_context(context);
}
