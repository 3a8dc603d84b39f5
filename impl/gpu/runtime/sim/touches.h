// What memory an operation of the device touches.
#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "gpu/runtime/sim/timing.h"
#include "millrace/plugin.h"

namespace mill::sim {

// The memory that one operation touches, as ranges of bytes.
class Touches {
 public:
  void add(OrderAccess access, const void* p, uint64_t bytes) {
    if (n_ == kMost || bytes == 0) return;
    const auto begin = reinterpret_cast<uintptr_t>(p);
    all_[n_++] = {access, begin, begin + bytes};
  }
  // A view with few long rows far apart touches only those; any other all that it spans.
  void add(OrderAccess access, const mill_kernel_tensor* t) {
    if (!t || t->numel == 0) return;
    const auto size = static_cast<uint64_t>(dtype_size(t->dtype));
    int32_t outer = -1;
    uint64_t span = 1;
    for (int32_t i = 0; i < t->rank; ++i) {
      if (t->dims[i] > 1 && (outer < 0 || t->strides[i] > t->strides[outer])) outer = i;
    }
    for (int32_t i = 0; i < t->rank; ++i) {
      if (i != outer) span += static_cast<uint64_t>((t->dims[i] - 1) * t->strides[i]);
    }
    const int64_t rows = outer < 0 ? 1 : t->dims[outer];
    const uint64_t step = outer < 0 ? 0 : static_cast<uint64_t>(t->strides[outer]);
    const auto* data = static_cast<const char*>(t->data);
    if (step <= span || rows > kRows) {
      add(access, data, (span + static_cast<uint64_t>(rows - 1) * step) * size);
      return;
    }
    for (int64_t r = 0; r < rows; ++r)
      add(access, data + static_cast<uint64_t>(r) * step * size, span * size);
  }
  std::span<const Touch> all() const { return {all_, n_}; }

 private:
  static constexpr int64_t kRows = 16;
  static constexpr size_t kMost = 256;
  Touch all_[kMost];
  size_t n_ = 0;
};

// What a kernel is handed: its operands and its workspace.
inline void add_operands(Touches& touches, const mill_kernel_args* args) {
  for (uint32_t k = 0; k < args->n_in; ++k) touches.add(OrderAccess::read, args->in[k]);
  for (uint32_t k = 0; k < args->n_out; ++k) touches.add(OrderAccess::write, args->out[k]);
  if (args->workspace_bytes > 0)
    touches.add(OrderAccess::write, args->workspace, args->workspace_bytes);
}

}  // namespace mill::sim
