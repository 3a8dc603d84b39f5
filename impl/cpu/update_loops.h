// What the kernels of the updates share: operands, tasks, and the step that is skipped.
#pragma once

#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {

template <class T>
MILL_INLINE T* data_of(const mill_kernel_tensor* t) {
  return t == nullptr ? nullptr : static_cast<T*>(t->data);
}

MILL_INLINE double stat_or_one(const mill_kernel_tensor* t) {
  return t == nullptr ? 1 : read_stat(t);
}

// body(vector start, Full or Part) over [0, n), ranges cut at whole vectors. A task has so many
// elements that several streams of them fit the second-level cache.
template <class D, class F>
MILL_INLINE void each_parallel(const mill_kernel_args* args, D d, int64_t n, F&& body) {
  constexpr int64_t kGrain = 8192;
  constexpr int64_t kGroup = 1024;
  parallel(args, ceil_div(n, kGroup), kGrain / kGroup, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kGroup;
    each_vector(d, smaller(end * kGroup, n) - first,
                [&](int64_t i, auto part) MILL_LAMBDA_INLINE { body(first + i, part); });
  });
}

// A step whose clip factor is negative is skipped: each output is what its input was.
MILL_INLINE bool skips(const mill_kernel_tensor* clip) {
  return clip != nullptr && read_stat(clip) < 0;
}

static inline void keep(const mill_kernel_tensor* from, const mill_kernel_tensor* to) {
  if (from == nullptr || to == nullptr || from->data == to->data) return;
  std::memcpy(to->data, from->data,
              static_cast<size_t>(to->numel) * static_cast<size_t>(dtype_bytes(to->dtype)));
}

}  // namespace mill::cpu::MILL_TARGET
