#include "base/dtype.h"

#include <algorithm>

namespace mill {

const char* dtype_name(int32_t dtype) {
  static constexpr const char* names[MILL_DTYPE_COUNT] = {
      "none", "bool", "u8",   "i8",  "u16", "i16",    "u32",    "i32", "u64",
      "i64",  "f16",  "bf16", "f32", "f64", "f8e4m3", "f8e5m2", "c64", "c128"};
  return dtype >= 0 && dtype < MILL_DTYPE_COUNT ? names[dtype] : "?";
}

DtypesText format_dtypes(uint32_t set) {
  DtypesText out;
  size_t used = 0;
  out.text[0] = 0;
  const auto put = [&](const char* word) {
    for (; *word != 0 && used + 1 < sizeof out.text; ++word) out.text[used++] = *word;
    out.text[used] = 0;
  };
  int left = __builtin_popcount(set);
  if (left == 0) put("none");
  for (int32_t dtype = MILL_BOOL; dtype < MILL_DTYPE_COUNT; ++dtype) {
    if (((set >> dtype) & 1u) == 0) continue;
    put(dtype_name(dtype));
    --left;
    if (left > 0) put(left == 1 ? " or " : ", ");
  }
  return out;
}

namespace {

int32_t signed_of_size(int32_t size) {
  switch (size) {
    case 1: return MILL_I8;
    case 2: return MILL_I16;
    case 4: return MILL_I32;
    default: return MILL_I64;
  }
}

int32_t promote_integers(int32_t a, int32_t b) {
  const bool a_signed = dtype_kind(a) == Kind::signed_integer;
  const bool b_signed = dtype_kind(b) == Kind::signed_integer;
  if (a_signed == b_signed) return dtype_size(a) >= dtype_size(b) ? a : b;
  const int32_t u = a_signed ? b : a;
  const int32_t s = a_signed ? a : b;
  if (u != MILL_U8) return MILL_DTYPE_NONE;
  return signed_of_size(std::max(dtype_size(s), 2));
}

int32_t promote_floats(int32_t a, int32_t b) {
  const bool f8 = dtype_size(a) == 1 || dtype_size(b) == 1;
  if (f8) return MILL_DTYPE_NONE;
  if (dtype_size(a) == 2 && dtype_size(b) == 2) return MILL_F32;  // f16 with bf16
  return dtype_size(a) >= dtype_size(b) ? a : b;
}

}  // namespace

int32_t promote(int32_t a, int32_t b) {
  if (a == b) return a;
  if (!is_dtype(a) || !is_dtype(b)) return MILL_DTYPE_NONE;
  const Kind ka = dtype_kind(a);
  const Kind kb = dtype_kind(b);
  if (ka == Kind::boolean) return b;
  if (kb == Kind::boolean) return a;
  if (ka == Kind::complex || kb == Kind::complex) {
    return a == MILL_C128 || b == MILL_C128 || a == MILL_F64 || b == MILL_F64 ? MILL_C128
                                                                              : MILL_C64;
  }
  if (ka == Kind::floating && kb == Kind::floating) return promote_floats(a, b);
  if (ka == Kind::floating) return a;
  if (kb == Kind::floating) return b;
  return promote_integers(a, b);
}

}  // namespace mill
