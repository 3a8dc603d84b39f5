// Copies chosen rows of a strided host array into a dense batch, converting elements on the way.
#pragma once

#include <cstdint>
#include <vector>

#include "millrace/types.h"

namespace mill {

// One array of a dataset. Element (r, i...) is at base + r * row_stride + sum(i * strides), all in
// elements; rows may overlap, as windows over one text do. The memory is borrowed and must not
// change while a loader uses it.
struct LoaderColumn {
  const void* base = nullptr;
  int32_t dtype = MILL_DTYPE_NONE;
  int64_t rows = 0;
  int64_t row_stride = 0;
  uint32_t rank = 0;  // of one row
  int64_t dims[MILL_MAX_RANK - 1] = {};
  int64_t strides[MILL_MAX_RANK - 1] = {};
};

// out = value * scale + shift, computed in f64 and rounded once, for two-byte and one-byte floats
// by way of f32. Between integers and bools with scale 1 and shift 0 the conversion is exact and
// wraps. To an integer, floats are truncated and saturate, NaN becomes 0; to bool, all but zero
// is 1. Complex columns can only be copied.
struct LoaderTransform {
  int32_t dtype = MILL_DTYPE_NONE;  // none: the column's
  double scale = 1;
  double shift = 0;
};

// The plan of one column: made once, then run for each batch without allocating.
class Gather {
 public:
  Gather(const LoaderColumn& column, const LoaderTransform& transform, uint32_t ordinal);

  int32_t dtype() const { return out_dtype_; }
  uint64_t row_bytes() const { return row_bytes_; }  // in the batch
  void run(const int64_t* rows, int64_t count, void* to) const noexcept;

 private:
  using Inner = void (*)(const Gather&, const char* from, int64_t stride, int64_t count, char* to);
  using Load = void (*)(const char* from, int64_t stride, int64_t count, void* to);
  using Store = void (*)(const void* from, int64_t count, char* to);

  void check(const LoaderColumn& column, const LoaderTransform& transform, uint32_t ordinal) const;
  void collapse(const LoaderColumn& column);
  void choose_inner(const LoaderTransform& transform);
  void gather_row(const char* from, char* to) const;
  template <class Element>
  static void copy_inner(const Gather&, const char* from, int64_t stride, int64_t count, char* to);
  template <class Element>
  static void table_inner(const Gather&, const char* from, int64_t stride, int64_t count, char* to);
  static void affine_inner(const Gather&, const char* from, int64_t stride, int64_t count,
                           char* to);
  static void integer_inner(const Gather&, const char* from, int64_t stride, int64_t count,
                            char* to);

  const char* base_;
  int32_t in_dtype_;
  int32_t out_dtype_;
  int64_t row_step_;  // in bytes
  uint64_t row_bytes_ = 0;
  // The row's loops, outermost first, neighbours joined where their strides allow; at least one.
  uint32_t loops_ = 0;
  int64_t sizes_[MILL_MAX_RANK] = {};
  int64_t strides_[MILL_MAX_RANK] = {};
  double scale_;
  double shift_;
  Inner inner_ = nullptr;
  Load load_ = nullptr;
  Store store_ = nullptr;
  std::vector<char> table_;  // of the 256 results for one-byte elements
};

}  // namespace mill
