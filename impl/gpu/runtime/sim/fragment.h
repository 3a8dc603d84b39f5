// Tensor-core fragments on the simulated accelerator: what ldmatrix, mma and cp.async do, from the
// layouts that the PTX ISA documents (version 9.0, sections "ldmatrix", "mma.m16n8k16 with
// floating-point type" and "cp.async"). vocabulary.h includes this file at its end. The CUDA build
// has one of the same name with the same functions.
#pragma once

#include "gpu/runtime/sim/fragment_fold.h"

namespace MILL_FLAVOUR {

// regs[i]: this lane's part of the four 8x8 matrices of 2-byte elements whose lines the lanes name:
// lane 8 j + r names line r of matrix j by rows[i]. Lane l gets elements 2 (l % 4) and the next of
// line l / 4, or of column l / 4 where Transposed. Lines are in shared memory, aligned to 16 bytes.
template <bool Transposed, class T, int N>
MILL_DEVICE void ldmatrix_x4(const Block& t, uint32_t (&regs)[N][4], const T* const (&rows)[N],
                             const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  static_assert(sizeof(T) == 2 && sizeof rows <= mill::sim::kSlotBytes);
  for (int i = 0; i < N; ++i) {
    if ((reinterpret_cast<uintptr_t>(rows[i]) & 15) != 0) [[unlikely]]
      mill::sim::lane_fail(mill::sim::LaneFault::misaligned, {file, line},
                           reinterpret_cast<uintptr_t>(rows[i]), 16);
  }
  const unsigned char* slots = t.exchange(rows, sizeof rows, file, line);
  const int outer = t.lane() / 4;
  const int inner = t.lane() % 4 * 2;
  for (int j = 0; j < 4; ++j) {
    const unsigned char* slot =
        slots + (8 * j + (Transposed ? inner : outer)) * mill::sim::kSlotBytes;
    const T* lines[2][N];
    __builtin_memcpy(lines[0], slot, sizeof lines[0]);
    if constexpr (Transposed)
      __builtin_memcpy(lines[1], slot + mill::sim::kSlotBytes, sizeof lines[1]);
    for (int i = 0; i < N; ++i) {
      const T low = lines[0][i][Transposed ? outer : inner];
      const T high = Transposed ? lines[1][i][outer] : lines[0][i][inner + 1];
      regs[i][j] = low.bits | static_cast<uint32_t>(high.bits) << 16;
    }
  }
}

// c[i][j] += a[i] b[j] for M by N products of 16x16 by 16x8 elements of T (bf16 or f16), sums in
// f32, fragments as in mma.m16n8k16.
template <class T, int M, int N>
MILL_DEVICE void mma_m16n8k16(const Block& t, float (&c)[M][N][4], const uint32_t (&a)[M][4],
                              const uint32_t (&b)[N][2], const char* file = __builtin_FILE(),
                              int line = __builtin_LINE()) {
  static_assert(M <= mill::sim::kMmaMost && N <= mill::sim::kMmaMost);
  const mill::sim::MmaFragments mine{&c[0][0][0], &a[0][0], &b[0][0]};
  t.exchange_fold(
      &mine, sizeof mine,
      [](const unsigned char* slots) { mill::sim::fold_mma(slots, M, N, std::is_same_v<T, bf16>); },
      file, line);
}

// 16-byte copies from global to shared memory that go on while the lane does. Here they move as
// late as the hardware may: a wait that lets them go on leaves the old bytes. At most Most are
// under way.
template <class T, int Most>
class AsyncCopies {
  static constexpr int kFit = static_cast<int>(16 / sizeof(T));

 public:
  MILL_DEVICE AsyncCopies() : first_(0), count_(0), group_(0) {}

  // The first `count` elements; zeros in place of the rest of the 16 bytes.
  MILL_DEVICE void copy(T* to, const T* from, int count = kFit, const char* file = __builtin_FILE(),
                        int line = __builtin_LINE()) {
    const auto bits = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
    if ((bits & 15) != 0) [[unlikely]]
      mill::sim::lane_fail(
          mill::sim::LaneFault::misaligned, {file, line},
          reinterpret_cast<uintptr_t>((reinterpret_cast<uintptr_t>(to) & 15) != 0 ? to : from), 16);
    if (count_ == Most) finish_one();
    const int at = first_ + count_ < Most ? first_ + count_ : first_ + count_ - Most;
    queue_[at] = {to, from, count, group_};
    ++count_;
  }
  // Ends a group: what was copied since the last one.
  MILL_DEVICE void commit() { ++group_; }
  // Until at most Left groups are under way. Other lanes see the bytes after a barrier.
  template <int Left>
  MILL_DEVICE void wait() {
    while (count_ > 0 && queue_[first_].group < group_ - Left) finish_one();
  }

 private:
  struct Copy {
    T* to;
    const T* from;
    int count;
    int group;
  };
  MILL_DEVICE void finish_one() {
    const Copy& copy = queue_[first_];
    for (int e = 0; e < kFit; ++e) copy.to[e] = e < copy.count ? copy.from[e] : T{};
    first_ = first_ + 1 < Most ? first_ + 1 : 0;
    --count_;
  }

  Copy queue_[Most];
  int first_;
  int count_;
  int group_;
};

}  // namespace MILL_FLAVOUR
