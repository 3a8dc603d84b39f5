// Type promotion is PyTorch's: its table between tensors, and a tensor with axes outranks one
// without of the same kind.
#include <gtest/gtest.h>

#include "conformance/problem.h"

namespace mill_test {
namespace {

constexpr mill_dtype kTypes[] = {MILL_BOOL, MILL_U8,   MILL_I8,  MILL_I16, MILL_I32, MILL_I64,
                                 MILL_F16,  MILL_BF16, MILL_F32, MILL_F64, MILL_C64, MILL_C128};
constexpr size_t kCount = std::size(kTypes);

// torch.promote_types, row and column in the order of kTypes.
constexpr mill_dtype b1 = MILL_BOOL, u1 = MILL_U8, i1 = MILL_I8, i2 = MILL_I16, i4 = MILL_I32,
                     i8 = MILL_I64, f2 = MILL_F16, bf = MILL_BF16, f4 = MILL_F32, f8 = MILL_F64,
                     c8 = MILL_C64, cg = MILL_C128;
constexpr mill_dtype kTable[kCount][kCount] = {
    {b1, u1, i1, i2, i4, i8, f2, bf, f4, f8, c8, cg},
    {u1, u1, i2, i2, i4, i8, f2, bf, f4, f8, c8, cg},
    {i1, i2, i1, i2, i4, i8, f2, bf, f4, f8, c8, cg},
    {i2, i2, i2, i2, i4, i8, f2, bf, f4, f8, c8, cg},
    {i4, i4, i4, i4, i4, i8, f2, bf, f4, f8, c8, cg},
    {i8, i8, i8, i8, i8, i8, f2, bf, f4, f8, c8, cg},
    {f2, f2, f2, f2, f2, f2, f2, f4, f4, f8, c8, cg},
    {bf, bf, bf, bf, bf, bf, f4, bf, f4, f8, c8, cg},
    {f4, f4, f4, f4, f4, f4, f4, f4, f4, f8, c8, cg},
    {f8, f8, f8, f8, f8, f8, f8, f8, f8, f8, cg, cg},
    {c8, c8, c8, c8, c8, c8, c8, c8, c8, cg, c8, cg},
    {cg, cg, cg, cg, cg, cg, cg, cg, cg, cg, cg, cg},
};

int kind_of(mill_dtype d) {
  return d == MILL_BOOL ? 0 : is_float(d) ? 2 : is_complex(d) ? 3 : 1;
}

// Of a tensor with axes and one without, as torch.result_type.
mill_dtype mixed(size_t wide, size_t scalar) {
  const mill_dtype w = kTypes[wide];
  const mill_dtype s = kTypes[scalar];
  if (kind_of(s) <= kind_of(w)) return w;
  if (is_float(w) && is_complex(s)) return w == MILL_F64 ? MILL_C128 : MILL_C64;
  return kTable[wide][scalar];
}

class Promotion : public testing::Test {
 protected:
  Tensor filled(mill_dtype dtype, const Dims& dims, double value) {
    Tensor out;
    w_.ok(mill_fill(w_.exec(), dims.data(), static_cast<uint32_t>(dims.size()), dtype, value,
                    out.out(), w_.error()));
    return out;
  }
  World& w_ = world();
};

TEST_F(Promotion, WhereFollowsTheTableForEveryPairAndRank) {
  const Tensor mask = filled(MILL_BOOL, {2}, 1);
  for (size_t i = 0; i < kCount; ++i) {
    for (size_t j = 0; j < kCount; ++j) {
      for (int scalars = 0; scalars < 4; ++scalars) {
        const bool first = (scalars & 1) != 0;
        const bool second = (scalars & 2) != 0;
        const Tensor a = filled(kTypes[i], first ? Dims{} : Dims{2}, 1);
        const Tensor b = filled(kTypes[j], second ? Dims{} : Dims{2}, 1);
        Tensor out;
        w_.ok(mill_where(w_.exec(), mask.get(), a.get(), b.get(), out.out(), w_.error()));
        const mill_dtype want = first == second ? kTable[i][j] : first ? mixed(j, i) : mixed(i, j);
        EXPECT_EQ(mill_tensor_dtype(out.get()), want)
            << dtype_text(kTypes[i]) << (first ? "[]" : "[2]") << " with " << dtype_text(kTypes[j])
            << (second ? "[]" : "[2]");
        EXPECT_EQ(read_host(w_, out.get()).size(), 2u);
      }
    }
  }
}

TEST_F(Promotion, AddComputesInTheCommonType) {
  for (size_t i = 0; i < kCount; ++i) {
    for (size_t j = 0; j < kCount; ++j) {
      if (kTypes[i] == MILL_BOOL || kTypes[j] == MILL_BOOL || is_complex(kTypes[i]) ||
          is_complex(kTypes[j]))
        continue;
      // 100 + 100 does not fit i8, and only the common type decides whether it wraps.
      const Tensor a = filled(kTypes[i], {3}, 100);
      const Tensor b = filled(kTypes[j], {3}, 100);
      Tensor out;
      w_.ok(mill_add(w_.exec(), a.get(), b.get(), out.out(), w_.error()));
      ASSERT_EQ(mill_tensor_dtype(out.get()), kTable[i][j]);
      const Host host = read_host(w_, out.get());
      const double value = is_float(kTable[i][j]) ? host.f[0] : static_cast<double>(host.i[0]);
      EXPECT_EQ(value, kTable[i][j] == MILL_I8 ? -56 : 200)
          << dtype_text(kTypes[i]) << " " << dtype_text(kTypes[j]);
    }
  }
}

TEST_F(Promotion, ConcatPromotesItsList) {
  const Tensor a = filled(MILL_U8, {1}, 200);
  const Tensor b = filled(MILL_I8, {1}, -3);
  const Tensor c = filled(MILL_F16, {1}, 0.5);
  mill_tensor* const list[] = {a.get(), b.get(), c.get()};
  Tensor out;
  w_.ok(mill_concat(w_.exec(), list, 3, 0, out.out(), w_.error()));
  EXPECT_EQ(mill_tensor_dtype(out.get()), MILL_F16);
  EXPECT_EQ(read_host(w_, out.get()).f, (std::vector<double>{200, -3, 0.5}));
}

TEST_F(Promotion, ComparePromotesBeforeItCompares) {
  const Tensor a = filled(MILL_U8, {1}, 200);
  const Tensor b = filled(MILL_I8, {1}, -56);
  Tensor out;
  w_.ok(mill_compare(w_.exec(), a.get(), b.get(), MILL_COMPARE_EQ, out.out(), w_.error()));
  EXPECT_EQ(read_host(w_, out.get()).i[0], 0);
}

TEST_F(Promotion, TypesWithoutACommonOneAreRefused) {
  const struct {
    mill_dtype a;
    mill_dtype b;
  } pairs[] = {{MILL_U16, MILL_I32},
               {MILL_U64, MILL_I64},
               {MILL_F8E4M3, MILL_F16},
               {MILL_F8E4M3, MILL_F8E5M2}};
  const Tensor mask = filled(MILL_BOOL, {2}, 1);
  for (const auto& pair : pairs) {
    const Tensor a = filled(pair.a, {2}, 1);
    const Tensor b = filled(pair.b, {2}, 1);
    mill_tensor* out = nullptr;
    EXPECT_EQ(mill_where(w_.exec(), mask.get(), a.get(), b.get(), &out, w_.error()), MILL_E_DTYPE);
    EXPECT_EQ(out, nullptr);
    EXPECT_NE(w_.message().find(dtype_text(pair.a)), std::string::npos) << w_.message();
    EXPECT_NE(w_.message().find(dtype_text(pair.b)), std::string::npos) << w_.message();
  }
}

TEST_F(Promotion, AGivenOutputMustHaveTheCommonType) {
  const Tensor a = filled(MILL_F32, {2}, 1);
  const Tensor b = filled(MILL_F64, {2}, 1);
  mill_tensor* out = a.get();
  EXPECT_EQ(mill_add(w_.exec(), a.get(), b.get(), &out, w_.error()), MILL_E_DTYPE);
  EXPECT_EQ(read_host(w_, a.get()).f[0], 1);
}

TEST_F(Promotion, ScalarAttributesNeverRaiseTheType) {
  for (const mill_dtype dtype : {MILL_F16, MILL_BF16, MILL_F32}) {
    const Tensor x = filled(dtype, {2}, 1);
    Tensor out;
    w_.ok(mill_affine(w_.exec(), x.get(), 1.0 / 3, 1e-12, out.out(), w_.error()));
    EXPECT_EQ(mill_tensor_dtype(out.get()), dtype);
  }
}

TEST_F(Promotion, APreparedCallPromotesToo) {
  const Tensor a = filled(MILL_I32, {2}, 3);
  const Tensor b = filled(MILL_F32, {}, 0.5);
  mill_tensor* const in[] = {a.get(), b.get()};
  PreparedCall call;
  w_.ok(mill_op_prepare(w_.exec(), MILL_OP_MUL, in, 2, nullptr, 0, call.out(), w_.error()));
  Tensor out;
  w_.ok(mill_call_run(call.get(), w_.exec(), in, 2, out.out(), 1, w_.error()));
  EXPECT_EQ(mill_tensor_dtype(out.get()), MILL_F32);
  EXPECT_EQ(read_host(w_, out.get()).f, (std::vector<double>{1.5, 1.5}));
}

}  // namespace
}  // namespace mill_test
