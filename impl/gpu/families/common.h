// The host side that families share: error texts, dtype dispatch, launch sizes, and the geometry of
// strided operands. Included after vocabulary.h and launch.h, inside nothing.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <type_traits>

#include "base/dtype.h"
#include "launch.h"
#include "millrace/op_numbers.h"
#include "vocabulary.h"

namespace MILL_FLAVOUR {

// ---- arguments ----------------------------------------------------------------------------------

__attribute__((format(printf, 3, 4))) inline mill_status refuse(const mill_kernel_args* args,
                                                                mill_status status,
                                                                const char* format, ...) {
  va_list values;
  va_start(values, format);
  std::vsnprintf(args->error->text, sizeof args->error->text, format, values);
  va_end(values);
  return status;
}

inline const mill_kernel_tensor* input(const mill_kernel_args* args, uint32_t k) {
  return k < args->n_in ? args->in[k] : nullptr;
}
inline const mill_kernel_tensor* output(const mill_kernel_args* args, uint32_t k) {
  return k < args->n_out ? args->out[k] : nullptr;
}
template <class T>
T* data_of(const mill_kernel_tensor* t) {
  return t ? static_cast<T*>(t->data) : nullptr;
}

// The product of dims [first, last).
inline int64_t product(const mill_kernel_tensor* t, int32_t first, int32_t last) {
  int64_t n = 1;
  for (int32_t i = first; i < last; ++i) n *= t->dims[i];
  return n;
}

inline constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
template <class T>
constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}
template <class T>
constexpr T larger(T a, T b) {
  return a < b ? b : a;
}
inline uint64_t bytes_of(const mill_kernel_tensor* t) {
  return t ? static_cast<uint64_t>(t->numel) * static_cast<uint64_t>(mill::dtype_size(t->dtype))
           : 0;
}

// Row-major without gaps.
inline bool dense(const mill_kernel_tensor& t) {
  int64_t stride = 1;
  for (int32_t i = t.rank; i-- > 0;) {
    if (t.dims[i] == 1) continue;
    if (t.strides[i] != stride) return false;
    stride *= t.dims[i];
  }
  return true;
}
inline bool aligned(const void* p, size_t bytes) {
  return (reinterpret_cast<uintptr_t>(p) & (bytes - 1)) == 0;
}

// ---- dtypes -------------------------------------------------------------------------------------

template <int32_t Dtype>
struct storage;
template <>
struct storage<MILL_BOOL> {
  using type = uint8_t;
};
template <>
struct storage<MILL_U8> {
  using type = uint8_t;
};
template <>
struct storage<MILL_I8> {
  using type = int8_t;
};
template <>
struct storage<MILL_U16> {
  using type = uint16_t;
};
template <>
struct storage<MILL_I16> {
  using type = int16_t;
};
template <>
struct storage<MILL_U32> {
  using type = uint32_t;
};
template <>
struct storage<MILL_I32> {
  using type = int32_t;
};
template <>
struct storage<MILL_U64> {
  using type = uint64_t;
};
template <>
struct storage<MILL_I64> {
  using type = int64_t;
};
template <>
struct storage<MILL_F16> {
  using type = f16;
};
template <>
struct storage<MILL_BF16> {
  using type = bf16;
};
template <>
struct storage<MILL_F32> {
  using type = float;
};
template <>
struct storage<MILL_F64> {
  using type = double;
};
template <>
struct storage<MILL_F8E4M3> {
  using type = f8e4m3;
};
template <>
struct storage<MILL_F8E5M2> {
  using type = f8e5m2;
};
template <int32_t Dtype>
using storage_t = typename storage<Dtype>::type;

inline constexpr uint32_t kFloatBits = mill::dtype_bit(MILL_F32) | mill::dtype_bit(MILL_F64) |
                                       mill::dtype_bit(MILL_F16) | mill::dtype_bit(MILL_BF16);
inline constexpr uint32_t kIntegerBits = mill::dtype_bit(MILL_U8) | mill::dtype_bit(MILL_I8) |
                                         mill::dtype_bit(MILL_U16) | mill::dtype_bit(MILL_I16) |
                                         mill::dtype_bit(MILL_U32) | mill::dtype_bit(MILL_I32) |
                                         mill::dtype_bit(MILL_U64) | mill::dtype_bit(MILL_I64);

// call.template operator()<T>() for the storage type of a floating dtype; integers beside them in
// with_numeric. The kernel entry's dtypes have been checked already.
template <class F>
mill_status with_float(int32_t dtype, F&& call) {
  switch (dtype) {
    case MILL_F32: return call.template operator()<float>();
    case MILL_F64: return call.template operator()<double>();
    case MILL_F16: return call.template operator()<f16>();
    case MILL_BF16: return call.template operator()<bf16>();
    default: return MILL_E_UNSUPPORTED;
  }
}
template <class F>
mill_status with_integer(int32_t dtype, F&& call) {
  switch (dtype) {
    case MILL_U8: return call.template operator()<uint8_t>();
    case MILL_I8: return call.template operator()<int8_t>();
    case MILL_U16: return call.template operator()<uint16_t>();
    case MILL_I16: return call.template operator()<int16_t>();
    case MILL_U32: return call.template operator()<uint32_t>();
    case MILL_I32: return call.template operator()<int32_t>();
    case MILL_U64: return call.template operator()<uint64_t>();
    case MILL_I64: return call.template operator()<int64_t>();
    default: return MILL_E_UNSUPPORTED;
  }
}
template <class F>
mill_status with_numeric(int32_t dtype, F&& call) {
  return is_integer(dtype) ? with_integer(dtype, call) : with_float(dtype, call);
}

// Of a tensor whose elements are indices.
inline mill_status check_index_dtype(const mill_kernel_args* args, const mill_kernel_tensor* t,
                                     const char* name) {
  switch (t->dtype) {
    case MILL_U8:
    case MILL_I8:
    case MILL_I16:
    case MILL_I32:
    case MILL_I64: return MILL_OK;
    default:
      return refuse(args, MILL_E_DTYPE,
                    "the %s have dtype number %d; u8, i8, i16, i32 and i64 are read", name,
                    t->dtype);
  }
}

// ---- sizes --------------------------------------------------------------------------------------

inline constexpr int kThreads = 256;

// Blocks for a loop over n items that each thread walks in steps of the grid: enough to fill a
// large device several times over, no more.
inline int64_t blocks_for(int64_t n, int threads = kThreads) {
  constexpr int64_t kMost = 132 * 8;
  return larger<int64_t>(1, smaller(ceil_div(n, threads), kMost));
}

// ---- strided operands ---------------------------------------------------------------------------

// q = n / divisor for n below 2^32 by one multiplication: Granlund and Montgomery, "Division by
// Invariant Integers using Multiplication" (PLDI 1994), figure 4.1.
struct fast_div {
  uint32_t divisor;
  uint32_t multiplier;
  uint32_t shift;

  static fast_div by(uint32_t d) {
    uint32_t shift = 0;
    while (shift < 32 && (uint64_t{1} << shift) < d) ++shift;
    const uint64_t m = ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1;
    return {d, static_cast<uint32_t>(m), shift};
  }
  MILL_DEVICE uint32_t quotient(uint32_t n) const {
    const uint64_t high = (static_cast<uint64_t>(n) * multiplier) >> 32;
    return static_cast<uint32_t>((high + n) >> shift);
  }
};

// N operands over one index space of fewer than 2^32 elements. Axis 0 is the fastest.
template <int N>
struct geometry {
  int32_t rank;
  uint32_t count;
  fast_div size[MILL_MAX_RANK];
  int64_t stride[MILL_MAX_RANK][N];

  struct offsets {
    int64_t at[N];
  };
  MILL_DEVICE offsets of(uint32_t index) const {
    offsets o;
    for (int k = 0; k < N; ++k) o.at[k] = 0;
    for (int i = 0; i < rank; ++i) {
      const uint32_t rest = size[i].quotient(index);
      const uint32_t here = index - rest * size[i].divisor;
      for (int k = 0; k < N; ++k) o.at[k] += stride[i][k] * static_cast<int64_t>(here);
      index = rest;
    }
    return o;
  }
};

// The operands' axes, fastest first (by the first operand's strides), axes that walk as one merged,
// axes of one element dropped.
template <int N>
struct walk {
  int32_t rank = 0;
  int64_t size[MILL_MAX_RANK];
  int64_t stride[MILL_MAX_RANK][N];

  walk(const mill_kernel_tensor& shape, const mill_kernel_tensor* const (&operands)[N]) {
    int32_t order[MILL_MAX_RANK];
    int32_t n = 0;
    for (int32_t i = shape.rank; i-- > 0;) {
      if (shape.dims[i] == 1) continue;
      // Stable: equal strides keep the last axis first.
      int32_t at = n++;
      for (; at > 0 && operands[0]->strides[order[at - 1]] > operands[0]->strides[i]; --at)
        order[at] = order[at - 1];
      order[at] = i;
    }
    for (int32_t j = 0; j < n; ++j) {
      const int32_t axis = order[j];
      bool joins = rank > 0;
      for (int k = 0; k < N && joins; ++k)
        joins = operands[k]->strides[axis] == stride[rank - 1][k] * size[rank - 1];
      if (joins) {
        size[rank - 1] *= shape.dims[axis];
        continue;
      }
      size[rank] = shape.dims[axis];
      for (int k = 0; k < N; ++k) stride[rank][k] = operands[k]->strides[axis];
      ++rank;
    }
    if (rank == 0) {
      size[0] = 1;
      for (int k = 0; k < N; ++k) stride[0][k] = 0;
      rank = 1;
    }
  }
  // Every operand is one run of consecutive elements.
  bool contiguous() const {
    if (rank != 1) return false;
    for (int k = 0; k < N; ++k) {
      if (stride[0][k] != 1 && size[0] != 1) return false;
    }
    return true;
  }
  int64_t count() const {
    int64_t n = 1;
    for (int32_t i = 0; i < rank; ++i) n *= size[i];
    return n;
  }
};

// Calls launch(geometry, offsets) for parts of the walk that have fewer than 2^31 elements each:
// offsets[k] is to be added to operand k's pointer.
template <int N, class F>
mill_status each_part(const walk<N>& all, F&& launch_part) {
  walk<N> w = all;
  int64_t offsets[N] = {};
  constexpr int64_t kMost = int64_t{1} << 31;
  // How many of the slowest axes have to be walked here, and how much of the last of them at a
  // time.
  int64_t inner = 1;
  int32_t kept = 0;
  while (kept < w.rank && inner * w.size[kept] < kMost) inner *= w.size[kept++];
  const int64_t step = kept < w.rank ? larger<int64_t>(1, (kMost - 1) / inner) : 1;
  int64_t index[MILL_MAX_RANK] = {};
  for (;;) {
    geometry<N> g;
    g.rank = kept;
    int64_t count = inner;
    for (int32_t i = 0; i < kept; ++i) {
      g.size[i] = fast_div::by(static_cast<uint32_t>(w.size[i]));
      for (int k = 0; k < N; ++k) g.stride[i][k] = w.stride[i][k];
    }
    if (kept < w.rank) {
      const int64_t part = smaller(step, w.size[kept] - index[kept]);
      g.size[kept] = fast_div::by(static_cast<uint32_t>(part));
      for (int k = 0; k < N; ++k) g.stride[kept][k] = w.stride[kept][k];
      g.rank = kept + 1;
      count *= part;
    }
    g.count = static_cast<uint32_t>(count);
    const mill_status status = launch_part(g, offsets);
    if (status != MILL_OK) return status;
    int32_t axis = kept;
    for (; axis < w.rank; ++axis) {
      index[axis] += axis == kept ? step : 1;
      if (index[axis] < w.size[axis]) break;
      index[axis] = 0;
    }
    if (axis >= w.rank) return MILL_OK;
    for (int k = 0; k < N; ++k) {
      offsets[k] = 0;
      for (int32_t i = kept; i < w.rank; ++i) offsets[k] += index[i] * w.stride[i][k];
    }
  }
}

}  // namespace MILL_FLAVOUR
