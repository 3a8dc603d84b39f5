// Large results are written past the caches: they would be displaced before anyone reads them, and
// a plain store first fetches the memory that it then overwrites, which is a third of the traffic
// of a kernel with one input. Kernels compute a piece in the first-level cache and send it out.
#pragma once

#include <hwy/cache_control.h>

#include "cpu/simd.h"

namespace mill::cpu::MILL_TARGET {

// Results of fewer bytes may well be read from the cache by the next op.
inline constexpr int64_t kPastCacheBytes = int64_t{32} << 20;
// What is computed before it is sent: short, so that reading and writing overlap.
inline constexpr int64_t kPieceBytes = 2048;
// The same for rows, which are sent whole: leaves room for their inputs in the first-level cache.
inline constexpr int64_t kRowPieceBytes = 16384;

// Ends with finish_past_cache() on the same thread.
MILL_INLINE void write_past_cache(const void* from, void* to, int64_t bytes) {
  const Tag<uint32_t> d;
  constexpr int64_t kStep = kLanes<Tag<uint32_t>> * 4;
  const char* source = static_cast<const char*>(from);
  char* target = static_cast<char*>(to);
  const int64_t head = smaller(bytes, static_cast<int64_t>(-reinterpret_cast<uintptr_t>(target) &
                                                           static_cast<uintptr_t>(kStep - 1)));
  std::memcpy(target, source, static_cast<size_t>(head));
  int64_t i = head;
  for (; i + kStep <= bytes; i += kStep) {
    hn::Stream(hn::LoadU(d, reinterpret_cast<const uint32_t*>(source + i)), d,
               reinterpret_cast<uint32_t*>(target + i));
  }
  std::memcpy(target + i, source + i, static_cast<size_t>(bytes - i));
}

MILL_INLINE void finish_past_cache() {
  hwy::FlushStream();
}

// The rows of a result, one after the other: where they lie, or by way of a piece.
template <class S>
class OutRows {
 public:
  // A result of `rows` rows of n elements.
  MILL_INLINE OutRows(int64_t rows, int64_t n)
      : bytes_(n * static_cast<int64_t>(sizeof(S))),
        past_(bytes_ <= kRowPieceBytes && rows * bytes_ >= kPastCacheBytes) {}
  MILL_INLINE ~OutRows() {
    if (past_) finish_past_cache();
  }
  OutRows(const OutRows&) = delete;
  OutRows& operator=(const OutRows&) = delete;

  // Where to compute the row that belongs at `to`; done(to) when that has happened.
  MILL_INLINE S* at(S* to) { return past_ ? reinterpret_cast<S*>(piece_) : to; }
  MILL_INLINE void done(S* to) {
    if (past_) write_past_cache(piece_, to, bytes_);
  }

 private:
  int64_t bytes_;
  bool past_;
  alignas(64) char piece_[kRowPieceBytes];
};

}  // namespace mill::cpu::MILL_TARGET
