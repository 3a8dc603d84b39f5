// Dtype sizes, names, kinds and PyTorch's promotion table. The small functions are always inlined:
// files compiled for different SIMD targets call them, and the linker would keep one copy for all.
#pragma once

#include <cstdint>

#include "millrace/types.h"

namespace mill {

enum class Kind : uint8_t { none, boolean, unsigned_integer, signed_integer, floating, complex };

[[gnu::always_inline]] constexpr bool is_dtype(int32_t dtype) {
  return dtype > MILL_DTYPE_NONE && dtype < MILL_DTYPE_COUNT;
}

[[gnu::always_inline]] constexpr int32_t dtype_size(int32_t dtype) {
  constexpr int32_t sizes[MILL_DTYPE_COUNT] = {0, 1, 1, 1, 2, 2, 4, 4, 8,
                                               8, 2, 2, 4, 8, 1, 1, 8, 16};
  return is_dtype(dtype) ? sizes[dtype] : 0;
}

// The same for a divisor: never 0.
[[gnu::always_inline]] constexpr int32_t element_bytes(int32_t dtype) {
  const int32_t size = dtype_size(dtype);
  return size > 0 ? size : 1;
}

[[gnu::always_inline]] constexpr Kind dtype_kind(int32_t dtype) {
  switch (dtype) {
    case MILL_BOOL: return Kind::boolean;
    case MILL_U8:
    case MILL_U16:
    case MILL_U32:
    case MILL_U64: return Kind::unsigned_integer;
    case MILL_I8:
    case MILL_I16:
    case MILL_I32:
    case MILL_I64: return Kind::signed_integer;
    case MILL_F16:
    case MILL_BF16:
    case MILL_F32:
    case MILL_F64:
    case MILL_F8E4M3:
    case MILL_F8E5M2: return Kind::floating;
    case MILL_C64:
    case MILL_C128: return Kind::complex;
    default: return Kind::none;
  }
}

[[gnu::always_inline]] constexpr bool is_floating(int32_t dtype) {
  return dtype_kind(dtype) == Kind::floating;
}
[[gnu::always_inline]] constexpr bool is_integer(int32_t dtype) {
  return dtype_kind(dtype) == Kind::unsigned_integer || dtype_kind(dtype) == Kind::signed_integer;
}

// The floating dtypes that ops compute with.
[[gnu::always_inline]] constexpr bool is_compute_float(int32_t dtype) {
  return dtype == MILL_F16 || dtype == MILL_BF16 || dtype == MILL_F32 || dtype == MILL_F64;
}

[[gnu::always_inline]] constexpr uint32_t dtype_bit(int32_t dtype) {
  return 1u << static_cast<uint32_t>(dtype);
}

const char* dtype_name(int32_t dtype);  // "f32"; "?" for an unknown number

// "f16, f32 or f64", for error texts; bit d of the set stands for dtype d.
struct DtypesText {
  char text[128];
};
DtypesText format_dtypes(uint32_t set);

// PyTorch's promotion table (torch.promote_types). MILL_DTYPE_NONE when the pair has no common type
// (f8 with anything but itself; u16, u32, u64 with a signed integer).
int32_t promote(int32_t a, int32_t b);

}  // namespace mill
