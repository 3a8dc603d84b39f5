// The exec: device, stream and the settings that ride with every op call.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/owner_lock.h"
#include "dispatch/context.h"
#include "dispatch/recorder.h"
#include "dispatch/staging.h"
#include "dispatch/stream.h"
#include "millrace/exec.h"
#include "trace/exec_trace.h"

struct mill_generator;
void retain(mill_generator* generator) noexcept;
void release(mill_generator* generator) noexcept;

namespace mill {

class LateReads;

// A kernel that was resolved before, so that the device is asked once per (op, dtypes).
struct CachedKernel {
  uint64_t key = 0;
  mill_kernel kernel{};
};

}  // namespace mill

struct mill_exec : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::exec;
  static constexpr uint32_t kKernelSlots = 256;

  mill_exec(mill_context* owner, mill::Device& on, mill::Ref<mill_stream> queue);
  ~mill_exec();

  mill::Ref<mill_context> context;
  mill::Device& device;
  mill::Ref<mill_stream> stream;
  mill::Recorder* recorder = nullptr;  // holds a reference
  mill::Ref<mill_generator> generator;
  uint32_t tag = 0;
  int32_t order = MILL_ORDER_AUTO;
  bool deterministic = true;
  int32_t autocast = MILL_DTYPE_NONE;  // f16 or bf16 while it is on
  mill::ExecTrace trace;
  mill_host_services host{};
  std::unique_ptr<mill::StagingRing> staging;     // null: off
  std::unique_ptr<mill::LateReads> late_reads;    // null: off
  std::unique_ptr<mill::CachedKernel[]> kernels;  // kKernelSlots: too large for a handle's slot

  // What the allocator knows the stream by.
  uint64_t stream_id() const { return stream->memory_id; }
  void set_recorder(mill::Recorder* next) noexcept;
  void set_deterministic(bool on) noexcept;
  const mill_kernel& resolve(const mill::OpRow& row, const int32_t* dtypes, uint32_t n_in,
                             uint32_t n_out);
  // The kernel of a pointwise op whose tensors all have this dtype, if it was asked for before.
  const mill_kernel* resolved(int32_t op, int32_t dtype) const {
    const mill::CachedKernel& cached = quick_[quick_slot(op, dtype)];
    return cached.key == quick_key(op, dtype) ? &cached.kernel : nullptr;
  }
  const mill_kernel& resolve_quick(const mill::OpRow& row, const int32_t* dtypes, uint32_t n_in);

  // Scopes: one list with marks, since scopes nest. A mark knows how deep in callbacks it was made,
  // so that handles which a callback makes for itself do not land on the list of the program around
  // it.
  struct ScopeMark {
    size_t at;
    uint32_t depth;
  };
  std::vector<mill::Handle*> scope_handles;
  std::vector<ScopeMark> scope_marks;
  void begin_scope();
  void end_scope();
  void keep(mill_tensor* tensor);
  bool notes() const { return !scope_marks.empty() && scope_marks.back().depth == lock_.depth(); }
  // Makes room first, so that noting a result can no longer fail.
  void reserve_notes(size_t n) {
    if (notes() && scope_handles.capacity() - scope_handles.size() < n) grow_notes(n);
  }
  void note(mill::Handle* handle) noexcept {
    if (notes()) scope_handles.push_back(handle);
  }

  void enter();
  void leave() noexcept {
    // A callback that returned without ending a scope: its handles go now.
    while (!scope_marks.empty() && scope_marks.back().depth > lock_.depth())
      [[unlikely]] end_scope();
    if (told_ && lock_.depth() == 1) [[unlikely]]
      stop_telling();
    lock_.leave();
    if (released_inside_) [[unlikely]]
      end_release();
  }
  // A callback may drop the last reference to the exec that is running it: the exec then ends with
  // the call. True if so.
  bool outlives_release() noexcept {
    if (!lock_.mine()) return false;
    released_inside_ = true;
    return true;
  }
  uint32_t depth() const noexcept { return lock_.depth(); }  // for the thread inside only

 private:
  static constexpr uint32_t kQuickSlots = 64;
  static uint32_t quick_slot(int32_t op, int32_t dtype) {
    return (static_cast<uint32_t>(op) + static_cast<uint32_t>(dtype) * 16u) % kQuickSlots;
  }
  static uint64_t quick_key(int32_t op, int32_t dtype) {
    return (static_cast<uint64_t>(op) << 8) | static_cast<uint64_t>(dtype);
  }
  mill::CachedKernel quick_[kQuickSlots];

  bool released_inside_ = false;
  bool told_ = false;  // this exec is the thread's current one
  mill::ExecTrace* told_before_ = nullptr;

  void grow_notes(size_t n);
  void end_release() noexcept;
  void stop_telling() noexcept;

  mill::OwnerLock lock_;
};

inline void retain(mill_exec* exec) noexcept {
  exec->retain();
}
void destroy_exec(mill_exec* exec) noexcept;
inline void release(mill_exec* exec) noexcept {
  if (exec->release()) destroy_exec(exec);
}

namespace mill {

class ExecGuard {
 public:
  explicit ExecGuard(Exec& exec) : exec_(exec) { exec.enter(); }
  ~ExecGuard() { exec_.leave(); }
  ExecGuard(const ExecGuard&) = delete;
  ExecGuard& operator=(const ExecGuard&) = delete;

 private:
  Exec& exec_;
};

// Runs what follows with another recorder (null: none), and puts the old one back. The exec's
// reference stays with the old one; a callback may meanwhile set another tape.
class RecorderScope {
 public:
  RecorderScope(Exec& exec, Recorder* recorder) : exec_(exec), saved_(exec.recorder) {
    if (recorder) recorder->retain_recorder();
    exec.recorder = recorder;
  }
  ~RecorderScope() {
    if (exec_.recorder) exec_.recorder->release_recorder();
    exec_.recorder = saved_;
  }
  RecorderScope(const RecorderScope&) = delete;
  RecorderScope& operator=(const RecorderScope&) = delete;

 private:
  Exec& exec_;
  Recorder* saved_;
};

}  // namespace mill
