#include "data/gather.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/dtype.h"
#include "base/error.h"
#include "base/half.h"

namespace mill {

namespace {

using ll = long long;

constexpr int64_t kChunk = 256;

// Integers travel through uint64_t, whose narrowing wraps; everything else through double.
template <class Wide, class T>
Wide widen(T value) {
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<Wide>(value);
  } else {
    return static_cast<Wide>(to_float(value));
  }
}

template <class T>
T narrow(double value) {
  if constexpr (std::is_same_v<T, bf16>) {
    return to_bf16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<T, f16>) {
    return to_f16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<T, f8e4m3>) {
    return to_f8e4m3(static_cast<float>(value));
  } else if constexpr (std::is_same_v<T, f8e5m2>) {
    return to_f8e5m2(static_cast<float>(value));
  } else if constexpr (std::is_integral_v<T>) {
    // The limits as doubles are powers of two or exact, so the casts below them are defined.
    constexpr double low = static_cast<double>(std::numeric_limits<T>::min());
    constexpr double high = static_cast<double>(std::numeric_limits<T>::max());
    if (std::isnan(value)) return 0;
    if (value <= low) return std::numeric_limits<T>::min();
    if (value >= high) return std::numeric_limits<T>::max();
    return static_cast<T>(value);
  } else {
    return static_cast<T>(value);
  }
}

template <class T>
T narrow(uint64_t value) {
  return static_cast<T>(value);
}

template <class T, class Wide>
void load_as(const char* from, int64_t stride, int64_t count, void* to) {
  auto* out = static_cast<Wide*>(to);
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, from + i * stride * int64_t{sizeof(T)}, sizeof(T));
    out[i] = widen<Wide>(value);
  }
}

template <class T, class Wide>
void store_as(const void* from, int64_t count, char* to) {
  const auto* in = static_cast<const Wide*>(from);
  for (int64_t i = 0; i < count; ++i) {
    const T value = narrow<T>(in[i]);
    std::memcpy(to + i * int64_t{sizeof(T)}, &value, sizeof(T));
  }
}

template <class Wide>
void load_bool(const char* from, int64_t stride, int64_t count, void* to) {
  auto* out = static_cast<Wide*>(to);
  for (int64_t i = 0; i < count; ++i) out[i] = from[i * stride] != 0 ? Wide{1} : Wide{0};
}

template <class Wide>
void store_bool(const void* from, int64_t count, char* to) {
  const auto* in = static_cast<const Wide*>(from);
  // NaN differs from zero, so it is true, as in a cast.
  for (int64_t i = 0; i < count; ++i) to[i] = in[i] == Wide{0} ? 0 : 1;
}

using Load = void (*)(const char*, int64_t, int64_t, void*);
using Store = void (*)(const void*, int64_t, char*);

template <class Wide>
void choose_integer(int32_t dtype, Load* load, Store* store) {
  const auto set = [&]<class T>(T) {
    *load = load_as<T, Wide>;
    *store = store_as<T, Wide>;
  };
  switch (dtype) {
    case MILL_BOOL:
      *load = load_bool<Wide>;
      *store = store_bool<Wide>;
      break;
    case MILL_U8: set(uint8_t{}); break;
    case MILL_I8: set(int8_t{}); break;
    case MILL_U16: set(uint16_t{}); break;
    case MILL_I16: set(int16_t{}); break;
    case MILL_U32: set(uint32_t{}); break;
    case MILL_I32: set(int32_t{}); break;
    case MILL_U64: set(uint64_t{}); break;
    default: set(int64_t{}); break;
  }
}

void choose_float(int32_t dtype, Load* load, Store* store) {
  const auto set = [&]<class T>(T) {
    *load = load_as<T, double>;
    *store = store_as<T, double>;
  };
  switch (dtype) {
    case MILL_F16: set(f16{}); break;
    case MILL_BF16: set(bf16{}); break;
    case MILL_F32: set(float{}); break;
    case MILL_F64: set(double{}); break;
    case MILL_F8E4M3: set(f8e4m3{}); break;
    case MILL_F8E5M2: set(f8e5m2{}); break;
    default: choose_integer<double>(dtype, load, store);
  }
}

bool is_whole(int32_t dtype) {
  return is_integer(dtype) || dtype == MILL_BOOL;
}

struct Bytes16 {
  char bytes[16];
};

}  // namespace

Gather::Gather(const LoaderColumn& column, const LoaderTransform& transform, uint32_t ordinal)
    : base_(static_cast<const char*>(column.base)),
      in_dtype_(column.dtype),
      out_dtype_(transform.dtype == MILL_DTYPE_NONE ? column.dtype : transform.dtype),
      row_step_(0),
      scale_(transform.scale),
      shift_(transform.shift) {
  check(column, transform, ordinal);
  row_step_ = column.row_stride * dtype_size(in_dtype_);
  collapse(column);
  choose_inner(transform);
}

void Gather::check(const LoaderColumn& column, const LoaderTransform& transform,
                   uint32_t ordinal) const {
  if (!is_dtype(column.dtype)) fail(MILL_E_ARG, "column %u: %d is no dtype", ordinal, column.dtype);
  if (!is_dtype(out_dtype_)) {
    fail(MILL_E_ARG, "column %u: %d is no dtype to convert to", ordinal, transform.dtype);
  }
  if (!std::isfinite(scale_) || !std::isfinite(shift_)) {
    fail(MILL_E_ARG, "column %u: scale %g and shift %g must be finite", ordinal, scale_, shift_);
  }
  const bool identity = in_dtype_ == out_dtype_ && scale_ == 1 && shift_ == 0;
  const bool complex =
      dtype_kind(in_dtype_) == Kind::complex || dtype_kind(out_dtype_) == Kind::complex;
  if (complex && !identity) {
    fail(MILL_E_DTYPE,
         "column %u: %s cannot become %s with scale %g and shift %g, complex numbers are only "
         "copied",
         ordinal, dtype_name(in_dtype_), dtype_name(out_dtype_), scale_, shift_);
  }
  if (column.rank > MILL_MAX_RANK - 1) {
    fail(MILL_E_SHAPE, "column %u: rows have %u dimensions, the limit is %d", ordinal, column.rank,
         MILL_MAX_RANK - 1);
  }
  if (column.rows < 0 || column.row_stride < 0) {
    fail(MILL_E_SHAPE, "column %u: %lld rows with stride %lld, neither may be negative", ordinal,
         static_cast<ll>(column.rows), static_cast<ll>(column.row_stride));
  }
  // The offset of the last element, and the bytes of a row in the widest dtype, must fit into 64
  // bits.
  int64_t last = 0;
  bool overflow =
      __builtin_mul_overflow(std::max<int64_t>(column.rows - 1, 0), column.row_stride, &last);
  int64_t elements = 16;
  bool empty = column.rows == 0;
  for (uint32_t i = 0; i < column.rank; ++i) {
    if (column.dims[i] < 0 || column.strides[i] < 0) {
      fail(MILL_E_SHAPE, "column %u: size %lld and stride %lld of row axis %u must not be negative",
           ordinal, static_cast<ll>(column.dims[i]), static_cast<ll>(column.strides[i]), i);
    }
    int64_t reach = 0;
    overflow |=
        __builtin_mul_overflow(std::max<int64_t>(column.dims[i] - 1, 0), column.strides[i], &reach);
    overflow |= __builtin_add_overflow(last, reach, &last);
    overflow |= __builtin_mul_overflow(elements, std::max<int64_t>(column.dims[i], 1), &elements);
    empty |= column.dims[i] == 0;
  }
  overflow |= __builtin_mul_overflow(last, int64_t{16}, &last);
  if (overflow) {
    fail(MILL_E_SHAPE, "column %u: the bytes of its shape exceed %lld", ordinal,
         static_cast<ll>(INT64_MAX));
  }
  if (column.base == nullptr && !empty) fail(MILL_E_ARG, "column %u has no data", ordinal);
}

void Gather::collapse(const LoaderColumn& column) {
  int64_t elements = 1;
  for (uint32_t i = 0; i < column.rank; ++i) {
    const int64_t size = column.dims[i];
    elements *= size;
    if (size == 1) continue;
    if (loops_ != 0 && strides_[loops_ - 1] == size * column.strides[i]) {
      sizes_[loops_ - 1] *= size;
      strides_[loops_ - 1] = column.strides[i];
    } else {
      sizes_[loops_] = size;
      strides_[loops_++] = column.strides[i];
    }
  }
  if (loops_ == 0) {
    sizes_[0] = 1;
    strides_[0] = 1;
    loops_ = 1;
  }
  row_bytes_ = static_cast<uint64_t>(elements) * static_cast<uint64_t>(dtype_size(out_dtype_));
}

void Gather::choose_inner(const LoaderTransform& transform) {
  const bool plain = transform.scale == 1 && transform.shift == 0;
  const int32_t out_size = dtype_size(out_dtype_);
  const auto by_size = [out_size](Inner one, Inner two, Inner four, Inner eight) {
    return out_size == 1 ? one : out_size == 2 ? two : out_size == 4 ? four : eight;
  };
  if (plain && in_dtype_ == out_dtype_) {
    inner_ = out_size == 16 ? copy_inner<Bytes16>
                            : by_size(copy_inner<uint8_t>, copy_inner<uint16_t>,
                                      copy_inner<uint32_t>, copy_inner<uint64_t>);
    return;
  }
  Load unused_load = nullptr;
  Store unused_store = nullptr;
  if (plain && is_whole(in_dtype_) && is_whole(out_dtype_)) {
    choose_integer<uint64_t>(in_dtype_, &load_, &unused_store);
    choose_integer<uint64_t>(out_dtype_, &unused_load, &store_);
    inner_ = integer_inner;
  } else {
    choose_float(in_dtype_, &load_, &unused_store);
    choose_float(out_dtype_, &unused_load, &store_);
    // Adding -0 changes nothing, adding +0 would turn -0 into +0.
    if (shift_ == 0) shift_ = -0.0;
    inner_ = affine_inner;
  }
  if (dtype_size(in_dtype_) != 1) return;
  char inputs[256];
  for (int i = 0; i < 256; ++i) inputs[i] = static_cast<char>(i);
  table_.resize(256 * static_cast<size_t>(out_size));
  inner_(*this, inputs, 1, 256, table_.data());
  inner_ = by_size(table_inner<uint8_t>, table_inner<uint16_t>, table_inner<uint32_t>,
                   table_inner<uint64_t>);
}

template <class Element>
void Gather::copy_inner(const Gather&, const char* from, int64_t stride, int64_t count, char* to) {
  constexpr int64_t size = sizeof(Element);
  if (stride == 1) {
    std::memcpy(to, from, static_cast<size_t>(count * size));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * size, from + i * stride * size, sizeof(Element));
  }
}

template <class Element>
void Gather::table_inner(const Gather& plan, const char* from, int64_t stride, int64_t count,
                         char* to) {
  constexpr int64_t size = sizeof(Element);
  const char* table = plan.table_.data();
  for (int64_t i = 0; i < count; ++i) {
    const auto key = static_cast<unsigned char>(from[i * stride]);
    std::memcpy(to + i * size, table + key * size, sizeof(Element));
  }
}

void Gather::affine_inner(const Gather& plan, const char* from, int64_t stride, int64_t count,
                          char* to) {
  double values[kChunk];
  const int64_t in_step = stride * dtype_size(plan.in_dtype_);
  const int64_t out_step = dtype_size(plan.out_dtype_);
  for (int64_t done = 0; done < count; done += kChunk) {
    const int64_t part = std::min(count - done, kChunk);
    plan.load_(from + done * in_step, stride, part, values);
    for (int64_t i = 0; i < part; ++i) values[i] = values[i] * plan.scale_ + plan.shift_;
    plan.store_(values, part, to + done * out_step);
  }
}

void Gather::integer_inner(const Gather& plan, const char* from, int64_t stride, int64_t count,
                           char* to) {
  uint64_t values[kChunk];
  const int64_t in_step = stride * dtype_size(plan.in_dtype_);
  const int64_t out_step = dtype_size(plan.out_dtype_);
  for (int64_t done = 0; done < count; done += kChunk) {
    const int64_t part = std::min(count - done, kChunk);
    plan.load_(from + done * in_step, stride, part, values);
    plan.store_(values, part, to + done * out_step);
  }
}

// Rows of at least two loops.
void Gather::gather_row(const char* from, char* to) const {
  const uint32_t last = loops_ - 1;
  const int64_t in_size = dtype_size(in_dtype_);
  const int64_t inner_bytes = sizes_[last] * dtype_size(out_dtype_);
  int64_t position[MILL_MAX_RANK] = {};
  int64_t offset = 0;
  while (true) {
    inner_(*this, from + offset, strides_[last], sizes_[last], to);
    to += inner_bytes;
    uint32_t axis = last;
    while (axis > 0) {
      --axis;
      offset += strides_[axis] * in_size;
      if (++position[axis] < sizes_[axis]) break;
      offset -= strides_[axis] * in_size * sizes_[axis];
      position[axis] = 0;
      if (axis == 0) return;
    }
  }
}

void Gather::run(const int64_t* rows, int64_t count, void* to) const noexcept {
  if (row_bytes_ == 0) return;
  auto* out = static_cast<char*>(to);
  for (int64_t i = 0; i < count; ++i) {
    const char* from = base_ + rows[i] * row_step_;
    if (loops_ == 1) {
      inner_(*this, from, strides_[0], sizes_[0], out);
    } else {
      gather_row(from, out);
    }
    out += row_bytes_;
  }
}

}  // namespace mill
