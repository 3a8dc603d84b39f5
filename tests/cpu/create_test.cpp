#include "cpu/pointwise_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(create)

using Real = long double;

std::vector<int32_t> every_dtype() {
  std::vector<int32_t> all;
  for (int32_t d = MILL_BOOL; d < MILL_DTYPE_COUNT; ++d) all.push_back(d);
  return all;
}

// ---- a second, slow implementation of conversion -----------------------------------------------

struct Format {
  int mantissa;  // explicit bits
  int lowest;    // exponent of the smallest normal number
  Real most;
  bool saturates;
};

Format format_of(int32_t dtype) {
  switch (dtype) {
    case MILL_F16: return {10, -14, 65504, false};
    case MILL_BF16: return {7, -126, std::ldexp(Real{255}, 120), false};
    case MILL_F8E4M3: return {3, -6, 448, true};
    case MILL_F8E5M2: return {2, -14, 57344, false};
    case MILL_F32: return {23, -126, std::numeric_limits<float>::max(), false};
    default: return {52, -1022, std::numeric_limits<double>::max(), false};
  }
}

// x rounded to nearest even in one step.
Real rounded(Real x, int32_t dtype) {
  if (std::isnan(x) || x == 0) return x;
  const Format f = format_of(dtype);
  if (std::isinf(x)) return f.saturates ? std::copysign(f.most, x) : x;
  const int exponent = std::max(std::ilogb(x), f.lowest);
  const Real quantum = std::ldexp(Real{1}, exponent - f.mantissa);
  const Real result = std::nearbyint(x / quantum) * quantum;
  if (std::fabs(result) <= f.most) return result;
  return std::copysign(f.saturates ? f.most : static_cast<Real>(HUGE_VALL), x);
}

struct Number {
  Real re, im;
};

Number number_at(int32_t dtype, const void* data, int64_t i) {
  switch (dtype) {
    case MILL_BOOL: return {static_cast<Real>(static_cast<const uint8_t*>(data)[i] != 0), 0};
    case MILL_U8: return {static_cast<Real>(static_cast<const uint8_t*>(data)[i]), 0};
    case MILL_I8: return {static_cast<Real>(static_cast<const int8_t*>(data)[i]), 0};
    case MILL_U16: return {static_cast<Real>(static_cast<const uint16_t*>(data)[i]), 0};
    case MILL_I16: return {static_cast<Real>(static_cast<const int16_t*>(data)[i]), 0};
    case MILL_U32: return {static_cast<Real>(static_cast<const uint32_t*>(data)[i]), 0};
    case MILL_I32: return {static_cast<Real>(static_cast<const int32_t*>(data)[i]), 0};
    case MILL_U64: return {static_cast<Real>(static_cast<const uint64_t*>(data)[i]), 0};
    case MILL_I64: return {static_cast<Real>(static_cast<const int64_t*>(data)[i]), 0};
    case MILL_F16: return {static_cast<Real>(to_float(static_cast<const f16*>(data)[i])), 0};
    case MILL_BF16: return {static_cast<Real>(to_float(static_cast<const bf16*>(data)[i])), 0};
    case MILL_F32: return {static_cast<Real>(static_cast<const float*>(data)[i]), 0};
    case MILL_F64: return {static_cast<Real>(static_cast<const double*>(data)[i]), 0};
    case MILL_F8E4M3: return {static_cast<Real>(to_float(static_cast<const f8e4m3*>(data)[i])), 0};
    case MILL_F8E5M2: return {static_cast<Real>(to_float(static_cast<const f8e5m2*>(data)[i])), 0};
    case MILL_C64:
      return {static_cast<Real>(static_cast<const float*>(data)[2 * i]),
              static_cast<Real>(static_cast<const float*>(data)[2 * i + 1])};
    default:
      return {static_cast<Real>(static_cast<const double*>(data)[2 * i]),
              static_cast<Real>(static_cast<const double*>(data)[2 * i + 1])};
  }
}

Number converted(Number v, int32_t from, int32_t to) {
  const Kind kind = dtype_kind(to);
  if (kind == Kind::complex) {
    const int32_t part = to == MILL_C64 ? MILL_F32 : MILL_F64;
    return {rounded(v.re, part), rounded(v.im, part)};
  }
  if (kind == Kind::boolean) return {static_cast<Real>(v.re != 0 || v.im != 0), 0};
  if (kind == Kind::floating) return {rounded(v.re, to), 0};
  const int bits = dtype_size(to) * 8;
  const bool is_signed = kind == Kind::signed_integer;
  const Real most = std::ldexp(Real{1}, bits - (is_signed ? 1 : 0)) - 1;
  const Real least = is_signed ? -most - 1 : 0;
  if (is_floating(from) || dtype_kind(from) == Kind::complex) {
    if (std::isnan(v.re)) return {0, 0};
    return {std::min(most, std::max(least, std::trunc(v.re))), 0};
  }
  const uint64_t pattern =
      v.re < 0 ? static_cast<uint64_t>(static_cast<int64_t>(v.re)) : static_cast<uint64_t>(v.re);
  const uint64_t low = bits == 64 ? pattern : pattern & ((uint64_t{1} << bits) - 1);
  const bool negative = is_signed && (low >> (bits - 1)) != 0;
  return {negative ? -std::ldexp(Real{1}, bits) + static_cast<Real>(low) : static_cast<Real>(low),
          0};
}

// Random bit patterns, which reach NaN, infinity and subnormals, between values of ordinary size.
void fill_source(Tensor* t, uint64_t seed) {
  std::mt19937_64 engine(seed);
  const size_t size = static_cast<size_t>(dtype_size(t->dtype()));
  for (int64_t i = 0; i < t->numel(); ++i) {
    uint8_t* at = t->data<uint8_t>() + static_cast<size_t>(t->offset(i)) * size;
    for (size_t k = 0; k < size; ++k) at[k] = static_cast<uint8_t>(engine());
    const double value = std::ldexp(static_cast<double>(static_cast<int64_t>(engine())),
                                    -static_cast<int>(engine() % 80));
    if (i % 3 != 0) continue;
    switch (t->dtype()) {
      case MILL_F32: t->data<float>()[t->offset(i)] = static_cast<float>(value); break;
      case MILL_F64: t->data<double>()[t->offset(i)] = value; break;
      case MILL_C64:
        t->data<float>()[2 * t->offset(i)] = static_cast<float>(value);
        t->data<float>()[2 * t->offset(i) + 1] = i % 2 == 0 ? 0.0f : 1.0f;
        break;
      case MILL_C128:
        t->data<double>()[2 * t->offset(i)] = i % 2 == 0 ? 0.0 : value;
        t->data<double>()[2 * t->offset(i) + 1] = -value;
        break;
      default: break;
    }
  }
}

bool same(Real a, Real b) {
  return (std::isnan(a) && std::isnan(b)) || a == b;
}

void check_cast(const Target& target, int32_t from, int32_t to, const Layout& layout) {
  Tensor x = make(from, layout);
  fill_source(&x, static_cast<uint64_t>(from * 100 + to));
  for (const bool to_dense : {true, false}) {
    Tensor out = to_dense ? Tensor(to, layout.dims) : make(to, layout);
    ASSERT_EQ(launch(target.list, MILL_OP_CAST, {&x}, {&out}, {dtype_attr(to)}).status, MILL_OK);
    for (int64_t i = 0; i < x.numel(); ++i) {
      const Number v = number_at(from, x.view()->data, x.offset(i));
      const Number want = converted(v, from, to);
      const Number got = number_at(to, out.view()->data, out.offset(i));
      ASSERT_TRUE(same(got.re, want.re) && same(got.im, want.im))
          << target.name << " " << dtype_name(from) << " to " << dtype_name(to) << " "
          << layout.name << ": " << v.re << " became " << got.re << ", expected " << want.re;
      if (to == MILL_BOOL && from != MILL_BOOL) {
        ASSERT_LE(out.data<uint8_t>()[out.offset(i)], 1);
      }
    }
  }
}

TEST(Cast, EveryPairOfDtypesConvertsAsASlowReferenceDoes) {
  for (const Target& target : create_targets()) {
    for (int32_t from : every_dtype()) {
      for (int32_t to : every_dtype()) {
        check_cast(target, from, to, {"long", {1300}, {1}});
        check_cast(target, from, to, {"strided", {7, 31}, {1, 11}});
        check_cast(target, from, to, {"broadcast", {7, 31}, {0, 1}});
        check_cast(target, from, to, {"scalar", {}, {}});
        check_cast(target, from, to, {"empty", {2, 0}, {0, 1}});
      }
    }
  }
}

TEST(Cast, RoundsOnceFromWideTypesToNarrowOnes) {
  // Just above the midpoint between two neighbours: rounding first to f32 lands on the midpoint and
  // then on the even one.
  for (const Target& target : create_targets()) {
    Tensor x = Tensor::of(MILL_F64, {3},
                          {1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-8 + 0x1p-45, -(1 + 0x1p-8 + 0x1p-45)});
    Tensor half(MILL_F16, {3});
    Tensor brain(MILL_BF16, {3});
    ASSERT_EQ(launch(target.list, MILL_OP_CAST, {&x}, {&half}, {dtype_attr(MILL_F16)}).status,
              MILL_OK);
    ASSERT_EQ(launch(target.list, MILL_OP_CAST, {&x}, {&brain}, {dtype_attr(MILL_BF16)}).status,
              MILL_OK);
    EXPECT_EQ(half[0], 1 + 0x1p-10) << target.name;
    EXPECT_EQ(brain[1], 1 + 0x1p-7) << target.name;
    EXPECT_EQ(brain[2], -(1 + 0x1p-7)) << target.name;
    Tensor wide(MILL_I64, {1});
    wide.data<int64_t>()[0] = (int64_t{257} << 54) + 1;
    Tensor narrow(MILL_BF16, {1});
    ASSERT_EQ(launch(target.list, MILL_OP_CAST, {&wide}, {&narrow}, {dtype_attr(MILL_BF16)}).status,
              MILL_OK);
    EXPECT_EQ(narrow[0], 258 * 0x1p54) << target.name;
  }
}

TEST(Cast, ThreadsDoNotChangeBits) {
  for (const Target& target : create_targets()) {
    Tensor x(MILL_F32, {401, 307});
    x.fill(3);
    Tensor one(MILL_BF16, {401, 307}, {1, 401});
    Tensor three = one;
    ASSERT_EQ(launch(target.list, MILL_OP_CAST, {&x}, {&one}, {dtype_attr(MILL_BF16)}, 1).status,
              MILL_OK);
    ASSERT_EQ(launch(target.list, MILL_OP_CAST, {&x}, {&three}, {dtype_attr(MILL_BF16)}, 3).status,
              MILL_OK);
    EXPECT_TRUE(one.same_bits(three));
  }
}

// ---- copy --------------------------------------------------------------------------------------

void check_copy(const Target& target, int32_t op, int32_t dtype, const std::vector<int64_t>& dims,
                const std::vector<int64_t>& from, const std::vector<int64_t>& to,
                uint32_t threads) {
  const size_t size = static_cast<size_t>(dtype_size(dtype));
  Tensor x(dtype, dims, from);
  fill_source(&x, 8);
  Tensor out(dtype, dims, to);
  ASSERT_EQ(launch(target.list, op, {&x}, {&out}, {}, threads).status, MILL_OK);
  for (int64_t i = 0; i < x.numel(); ++i) {
    ASSERT_EQ(std::memcmp(out.data<uint8_t>() + static_cast<size_t>(out.offset(i)) * size,
                          x.data<uint8_t>() + static_cast<size_t>(x.offset(i)) * size, size),
              0)
        << label(target, dtype) << " element " << i << " of rank " << dims.size();
  }
  // What lies between the elements of the output is not the kernel's.
  Tensor untouched(dtype, dims, to);
  for (int64_t i = 0; i < x.numel(); ++i) {
    std::memcpy(untouched.data<uint8_t>() + static_cast<size_t>(out.offset(i)) * size,
                out.data<uint8_t>() + static_cast<size_t>(out.offset(i)) * size, size);
  }
  ASSERT_TRUE(untouched.same_bits(out)) << label(target, dtype);
}

TEST(Copy, EveryElementSizeBetweenEveryPairOfLayouts) {
  for (const Target& target : create_targets()) {
    for (int32_t dtype : {MILL_U8, MILL_BF16, MILL_F32, MILL_F64, MILL_C128}) {
      for (const Layout& layout : layouts()) {
        std::vector<int64_t> dense(layout.dims.size());
        int64_t stride = 1;
        for (size_t i = dense.size(); i-- > 0;) {
          dense[i] = stride;
          stride *= layout.dims[i];
        }
        for (int32_t op : {MILL_OP_COPY, MILL_OP_CONTIGUOUS}) {
          check_copy(target, op, dtype, layout.dims, layout.strides, dense, 1);
          check_copy(target, op, dtype, layout.dims, dense, layout.strides, 1);
          check_copy(target, op, dtype, layout.dims, layout.strides, layout.strides, 1);
        }
      }
      check_copy(target, MILL_OP_COPY, dtype, {70, 67}, {1, 70}, {67, 1},
                 1);  // whole and partial blocks
      check_copy(target, MILL_OP_COPY, dtype, {3, 70, 5, 67}, {1, 15, 3, 1050}, {23450, 335, 67, 1},
                 1);
      check_copy(target, MILL_OP_COPY, dtype, {40, 50}, {1, 41}, {120, 2},
                 1);  // transposed into a strided output
      check_copy(target, MILL_OP_COPY, dtype, {300, 260}, {1, 300}, {260, 1}, 3);
      check_copy(target, MILL_OP_COPY, dtype, {300, 260}, {300, 1}, {260, 1}, 3);
      check_copy(target, MILL_OP_COPY, dtype, {300, 260}, {520, 2}, {260, 1}, 3);
      check_copy(target, MILL_OP_COPY, dtype, {300, 260}, {0, 1}, {260, 1}, 3);
      check_copy(target, MILL_OP_COPY, dtype, {300, 260}, {1, 0}, {260, 1}, 3);
      check_copy(target, MILL_OP_COPY, dtype, {2, 3, 2, 3, 2, 3, 2, 3},
                 {1, 2, 6, 12, 36, 72, 216, 432}, {648, 216, 108, 36, 18, 6, 3, 1}, 1);
    }
  }
}

// ---- fill and arange ---------------------------------------------------------------------------

TEST(Fill, WritesTheConvertedValueEverywhereAndNowhereElse) {
  for (const Target& target : create_targets()) {
    for (int32_t dtype : every_dtype()) {
      for (double value : {0.0, 1.0, 2.7, -3.2, 1e30, std::nan("")}) {
        for (const Layout& layout : layouts()) {
          Tensor out = make(dtype, layout);
          ASSERT_EQ(launch(target.list, MILL_OP_FILL, {}, {&out},
                           {ints_attr(layout.dims), dtype_attr(dtype), float_attr(value)})
                        .status,
                    MILL_OK);
          const Number want = converted({value, 0}, MILL_F64, dtype);
          for (int64_t i = 0; i < out.numel(); ++i) {
            const Number got = number_at(dtype, out.view()->data, out.offset(i));
            ASSERT_TRUE(same(got.re, want.re) && same(got.im, want.im))
                << label(target, dtype) << " " << got.re;
          }
        }
      }
    }
  }
}

TEST(Arange, ElementsAreStartPlusIndexTimesStepRoundedOnce) {
  for (const Target& target : create_targets()) {
    for (int32_t dtype :
         {MILL_F32, MILL_F64, MILL_BF16, MILL_F16, MILL_I64, MILL_I32, MILL_U8, MILL_C64}) {
      for (int64_t count : {0, 1, 7, 1000, 70000}) {
        for (int64_t stride : {1, 3}) {
          Tensor out(dtype, {count}, {stride});
          const std::vector<mill_attr> attrs = {int_attr(count), float_attr(3), float_attr(0.1),
                                                dtype_attr(dtype)};
          ASSERT_EQ(launch(target.list, MILL_OP_ARANGE, {}, {&out}, attrs, 2).status, MILL_OK);
          for (int64_t i = 0; i < count; ++i) {
            const Number want =
                converted({static_cast<Real>(std::fma(static_cast<double>(i), 0.1, 3.0)), 0},
                          MILL_F64, dtype);
            ASSERT_TRUE(same(number_at(dtype, out.view()->data, out.offset(i)).re, want.re))
                << label(target, dtype) << " element " << i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace mill::cpu::test
