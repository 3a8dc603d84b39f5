// The suite can fail: what its own tools accept and refuse.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "conformance/problem.h"

namespace mill_test {
namespace {

const mill_cases::Case& find_case(int32_t op) {
  for (const mill_cases::Case& c : mill_cases::cases) {
    if (c.op->number == op) return c;
  }
  throw std::runtime_error("no such op");
}

TEST(SmallFormats, EveryCodeSurvivesDecodingAndEncoding) {
  const struct {
    SmallFormat format;
    uint32_t codes;
  } formats[] = {{kF16, 1u << 16}, {kBf16, 1u << 16}, {kE4m3, 1u << 8}, {kE5m2, 1u << 8}};
  for (const auto& f : formats) {
    for (uint32_t code = 0; code < f.codes; ++code) {
      const double x = decode_small(code, f.format);
      if (std::isnan(x)) continue;
      EXPECT_EQ(encode_small(x, f.format), code);
    }
  }
}

TEST(SmallFormats, RoundsToNearestEvenAtHalfWay) {
  EXPECT_EQ(round_small(1 + 0x1p-11, kF16), 1);
  EXPECT_EQ(round_small(1 + 3 * 0x1p-11, kF16), 1 + 0x1p-9);
  EXPECT_EQ(round_small(65519, kF16), 65504);
  EXPECT_TRUE(std::isinf(round_small(65520, kF16)));
  EXPECT_EQ(round_small(0x1p-25, kF16), 0);
  EXPECT_EQ(round_small(0x1.8p-24, kF16), 0x1p-23);
  EXPECT_EQ(round_small(1e6, kE4m3), 448);
  EXPECT_TRUE(std::isinf(round_small(1e6, kE5m2)));
}

class Judge : public testing::Test {
 protected:
  std::string verdict(mill_dtype dtype, int32_t op, const std::function<void(Host&)>& change) {
    const mill_cases::Case& c = find_case(op);
    const Problem p = make_problem(c, dtype, Layout::contiguous, 1);
    const Expected expected = std::move(expected_of(p)[0]);
    Host host;
    host.dtype = expected.dtype;
    host.dims = expected.dims;
    for (const long double x : expected.truth) host.f.push_back(round_to(dtype, x));
    change(host);
    return judge(*c.op, expected, host.dtype, host.dims, host);
  }
};

TEST_F(Judge, TakesTheRoundedTruthInEveryDtype) {
  for (const mill_dtype dtype : {MILL_F32, MILL_F64, MILL_BF16, MILL_F16}) {
    for (const int32_t op : {MILL_OP_EXP, MILL_OP_SOFTMAX, MILL_OP_MATMUL, MILL_OP_ADD}) {
      EXPECT_EQ(verdict(dtype, op, [](Host&) {}), "") << dtype_text(dtype) << " " << op;
    }
  }
}

TEST_F(Judge, RefusesTwentyUnitsInTheLastPlaceOfOneElement) {
  for (const mill_dtype dtype : {MILL_F32, MILL_F64, MILL_BF16, MILL_F16}) {
    for (const int32_t op : {MILL_OP_EXP, MILL_OP_TANH, MILL_OP_MUL}) {
      EXPECT_NE(verdict(dtype, op, [&](Host& host) { host.f[0] += 20 * epsilon_of(dtype) * 2; }),
                "")
          << dtype_text(dtype) << " " << op;
    }
  }
}

TEST_F(Judge, RefusesNanInfinityAndASwap) {
  EXPECT_NE(verdict(MILL_F32, MILL_OP_EXP,
                    [](Host& host) { host.f[1] = std::numeric_limits<double>::quiet_NaN(); }),
            "");
  EXPECT_NE(verdict(MILL_F32, MILL_OP_EXP, [](Host& host) { host.f[1] = HUGE_VAL; }), "");
  EXPECT_NE(verdict(MILL_F32, MILL_OP_EXP, [](Host& host) { std::swap(host.f[0], host.f[1]); }),
            "");
}

TEST_F(Judge, AnExactOpMayNotBeOneUnitOff) {
  EXPECT_NE(verdict(MILL_F32, MILL_OP_ADD,
                    [](Host& host) {
                      host.f[0] =
                          static_cast<double>(std::nextafter(static_cast<float>(host.f[0]), 9.0f));
                    }),
            "");
}

TEST_F(Judge, RefusesOtherDimsAndDtypes) {
  EXPECT_NE(
      verdict(MILL_F32, MILL_OP_EXP, [](Host& host) { std::swap(host.dims[0], host.dims[1]); }),
      "");
  EXPECT_NE(verdict(MILL_F32, MILL_OP_EXP, [](Host& host) { host.dtype = MILL_F64; }), "");
}

TEST(Sentinels, AWriteBesideTheElementsIsSeen) {
  World& w = world();
  if (w.asynchronous()) GTEST_SKIP() << "needs memory that the host can write";
  for (const Layout layout : {Layout::contiguous, Layout::gaps, Layout::transposed}) {
    const Dims dims = {3, 4};
    Placed placed = place_output(w, MILL_F32, dims, layout);
    EXPECT_EQ(first_touched(w, placed, dims, MILL_F32), -1);
    void* data = nullptr;
    w.ok(mill_tensor_data(placed.buffer.get(), 1, &data, w.error()));
    static_cast<float*>(data)[placed.offset - 1] = 1;
    EXPECT_EQ(first_touched(w, placed, dims, MILL_F32), placed.offset - 1);
  }
}

TEST(Domains, LayoutsHoldTheSameValues) {
  World& w = world();
  for (const mill_cases::Case& c : mill_cases::cases) {
    for (const Layout layout : kLayouts) {
      if (!layout_applies(c, layout)) continue;
      const Problem p = make_problem(c, tested_dtypes(c)[0], layout, 3);
      const std::vector<Placed> placed = p.place(w);
      for (size_t k = 0; k < placed.size(); ++k) {
        if (!p.present[k]) continue;
        const Host host = read_host(w, placed[k].view.get());
        EXPECT_EQ(host.f, p.inputs[k].f);
        EXPECT_EQ(host.i, p.inputs[k].i);
      }
    }
  }
}

}  // namespace
}  // namespace mill_test
