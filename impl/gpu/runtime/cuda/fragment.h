// Tensor-core fragments by inline PTX (PTX ISA version 9.0, sections "ldmatrix", "mma.m16n8k16 with
// floating-point type" and "cp.async"; all of compute capability 8.0). vocabulary.h includes this
// file at its end. The simulator's build has one of the same name with the same functions.
#pragma once

#include <cstdint>
#include <type_traits>

namespace MILL_FLAVOUR {

MILL_DEVICE uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// regs[i]: this lane's part of the four 8x8 matrices of 2-byte elements whose lines the lanes name:
// lane 8 j + r names line r of matrix j by rows[i]. Lane l gets elements 2 (l % 4) and the next of
// line l / 4, or of column l / 4 where Transposed. Lines are in shared memory, aligned to 16 bytes.
template <bool Transposed, class T, int N>
MILL_DEVICE void ldmatrix_x4(const Block&, uint32_t (&regs)[N][4], const T* const (&rows)[N]) {
  static_assert(sizeof(T) == 2);
  MILL_UNROLL
  for (int i = 0; i < N; ++i) {
    const uint32_t from = shared_address(rows[i]);
    if constexpr (Transposed) {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(regs[i][0]), "=r"(regs[i][1]), "=r"(regs[i][2]), "=r"(regs[i][3])
                   : "r"(from)
                   : "memory");
    } else {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(regs[i][0]), "=r"(regs[i][1]), "=r"(regs[i][2]), "=r"(regs[i][3])
                   : "r"(from)
                   : "memory");
    }
  }
}

// c[i][j] += a[i] b[j] for M by N products of 16x16 by 16x8 elements of T (bf16 or f16), sums in
// f32, fragments as in mma.m16n8k16.
template <class T, int M, int N>
MILL_DEVICE void mma_m16n8k16(const Block&, float (&c)[M][N][4], const uint32_t (&a)[M][4],
                              const uint32_t (&b)[N][2]) {
  MILL_UNROLL
  for (int i = 0; i < M; ++i) {
    MILL_UNROLL
    for (int j = 0; j < N; ++j) {
      float(&d)[4] = c[i][j];
      if constexpr (std::is_same_v<T, bf16>) {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
            "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
      } else {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
            "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
      }
    }
  }
}

// 16-byte copies from global to shared memory that go on while the lane does. The hardware counts
// those under way, so Most is the simulator's business.
template <class T, int Most>
class AsyncCopies {
 public:
  // The first `count` elements; zeros in place of the rest of the 16 bytes.
  MILL_DEVICE void copy(T* to, const T* from, int count = 16 / sizeof(T)) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)),
                   "r"(count * static_cast<int>(sizeof(T)))
                 : "memory");
  }
  // Ends a group: what was copied since the last one.
  MILL_DEVICE void commit() { asm volatile("cp.async.commit_group;" : : : "memory"); }
  // Until at most Left groups are under way. Other lanes see the bytes after a barrier.
  template <int Left>
  MILL_DEVICE void wait() {
    asm volatile("cp.async.wait_group %0;" : : "n"(Left) : "memory");
  }
};

}  // namespace MILL_FLAVOUR
