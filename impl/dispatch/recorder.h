// How dispatch tells a tape what ran, without knowing what a tape is.
#pragma once

#include <cstdint>

#include "dispatch/op_table.h"
#include "tensor/tensor.h"

namespace mill {

struct OpCall;

class Recorder {
 public:
  uint64_t serial() const { return serial_; }
  bool tracks(const mill_tensor* tensor) const {
    return tensor->leaf || tensor->tape_serial == serial_;
  }

  // Makes room for one more call, so that record cannot fail once a kernel has run. At least one
  // input is tracked.
  virtual void reserve(const OpCall& call) = 0;
  // Appends what has just run.
  virtual void record(const OpCall& call, mill_tensor* const* out) noexcept = 0;
  virtual void retain_recorder() noexcept = 0;
  virtual void release_recorder() noexcept = 0;
  virtual Handle* handle() noexcept = 0;  // the public object behind it

 protected:
  Recorder() = default;
  ~Recorder() = default;
  // Serials are never reused, so a tensor's mark from an older recording can never match.
  uint64_t serial_ = 0;
};

}  // namespace mill
