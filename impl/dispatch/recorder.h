// How dispatch tells a tape what ran, without knowing what a tape is.
#pragma once

#include <atomic>
#include <cstdint>

#include "dispatch/op_table.h"
#include "tensor/tensor.h"

namespace mill {

struct OpCall;

class Recorder {
 public:
  uint64_t serial() const { return serial_.load(std::memory_order_relaxed); }
  bool tracks(const mill_tensor* tensor) const {
    return tensor->leaf || tensor->tape_serial == serial();
  }

  // Makes room for one more call, so that memory cannot run out once a kernel has run, and keeps
  // other threads out until done(). At least one input is tracked. Throws MILL_E_BUSY while another
  // thread is inside.
  virtual void reserve(const OpCall& call) = 0;
  // Appends what has just run. Between reserve and done. Throws only what a program's callback on
  // saved tensors fails with; nothing has been appended then.
  virtual void record(const OpCall& call, mill_tensor* const* out) = 0;
  virtual void done() noexcept = 0;
  virtual void retain_recorder() noexcept = 0;
  virtual void release_recorder() noexcept = 0;
  virtual Handle* handle() noexcept = 0;  // the public object behind it

 protected:
  Recorder() = default;
  ~Recorder() = default;
  // Serials are never reused, so a tensor's mark from an older recording can never match.
  // Atomic: an exec asks what is tracked while another thread may reset the tape.
  std::atomic<uint64_t> serial_{0};
};

// From reserve to done.
class Recording {
 public:
  // recorder may be NULL: nothing is recorded.
  Recording(Recorder* recorder, const OpCall& call) : recorder_(recorder) {
    if (recorder_) recorder_->reserve(call);
  }
  ~Recording() {
    if (recorder_) recorder_->done();
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  void record(const OpCall& call, mill_tensor* const* out) {
    if (recorder_) recorder_->record(call, out);
  }

 private:
  Recorder* recorder_;
};

}  // namespace mill
