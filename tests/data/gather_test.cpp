#include "data/gather.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>

#include "base/dtype.h"
#include "base/error.h"
#include "base/half.h"

namespace mill {
namespace {

LoaderColumn column_of(const void* base, int32_t dtype, int64_t rows, int64_t row_stride,
                       std::initializer_list<int64_t> dims = {},
                       std::initializer_list<int64_t> strides = {}) {
  LoaderColumn column;
  column.base = base;
  column.dtype = dtype;
  column.rows = rows;
  column.row_stride = row_stride;
  column.rank = static_cast<uint32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), column.dims);
  std::copy(strides.begin(), strides.end(), column.strides);
  return column;
}

template <class Out>
std::vector<Out> gather(const LoaderColumn& column, const LoaderTransform& transform,
                        std::vector<int64_t> rows) {
  const Gather plan(column, transform, 0);
  // One row more, as a guard.
  std::vector<Out> out(rows.size() * plan.row_bytes() / sizeof(Out) + 4);
  std::memset(static_cast<void*>(out.data()), 0x5a, out.size() * sizeof(Out));
  const std::vector<char> guard(4 * sizeof(Out), 0x5a);
  plan.run(rows.data(), static_cast<int64_t>(rows.size()), out.data());
  EXPECT_EQ(std::memcmp(&out[out.size() - 4], guard.data(), guard.size()), 0)
      << "wrote past its end";
  out.resize(out.size() - 4);
  return out;
}

// One value converted, by a column of one element.
template <class Out, class In>
Out convert(int32_t from, int32_t to, In value, double scale = 1, double shift = 0) {
  return gather<Out>(column_of(&value, from, 1, 1), {to, scale, shift}, {0})[0];
}

TEST(Gather, CopiesChosenRowsOfEveryDtype) {
  for (int32_t dtype = 1; dtype < MILL_DTYPE_COUNT; ++dtype) {
    SCOPED_TRACE(dtype_name(dtype));
    const size_t row = 3 * static_cast<size_t>(dtype_size(dtype));
    std::string data(4 * row, 0);
    std::iota(data.begin(), data.end(), '\1');
    const std::vector<char> out =
        gather<char>(column_of(data.data(), dtype, 4, 3, {3}, {1}), {}, {2, 0, 2});
    EXPECT_EQ(std::string(out.begin(), out.end()),
              data.substr(2 * row, row) + data.substr(0, row) + data.substr(2 * row, row));
  }
}

TEST(Gather, ReadsRowsOfAnyStrides) {
  std::vector<int32_t> data(1000);
  std::iota(data.begin(), data.end(), 0);
  // Rows [2,3,2] with strides that cannot be joined, out of rows 10 apart.
  const LoaderColumn column = column_of(data.data(), MILL_I32, 5, 10, {2, 3, 2}, {100, 1, 7});
  std::vector<int64_t> expected;
  for (const int64_t row : {4, 1}) {
    for (int64_t a = 0; a < 2; ++a) {
      for (int64_t b = 0; b < 3; ++b) {
        for (int64_t c = 0; c < 2; ++c) expected.push_back(row * 10 + a * 100 + b + c * 7);
      }
    }
  }
  EXPECT_EQ(gather<int64_t>(column, {MILL_I64, 1, 0}, {4, 1}), expected);
  EXPECT_EQ(gather<int32_t>(column, {}, {4, 1}),
            std::vector<int32_t>(expected.begin(), expected.end()));
}

TEST(Gather, JoinsDimensionsOnlyWhereStridesAllow) {
  std::vector<uint8_t> data(200);
  std::iota(data.begin(), data.end(), uint8_t{0});
  const std::vector<uint8_t> dense = gather<uint8_t>(
      column_of(data.data(), MILL_U8, 2, 24, {2, 1, 3, 4}, {12, 99, 4, 1}), {}, {1});
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(dense[i], 24 + i);
  const std::vector<uint8_t> transposed =
      gather<uint8_t>(column_of(data.data(), MILL_U8, 2, 24, {4, 6}, {1, 4}), {}, {0});
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(transposed[i], i / 6 + i % 6 * 4);
  const std::vector<uint8_t> repeated =
      gather<uint8_t>(column_of(data.data(), MILL_U8, 9, 1, {2, 2}, {0, 0}), {}, {5});
  EXPECT_EQ(repeated, (std::vector<uint8_t>{5, 5, 5, 5}));
}

TEST(Gather, TakesOverlappingWindowsOfAText) {
  const std::string text = "the mill grinds";
  const LoaderColumn windows = column_of(text.data(), MILL_U8, 12, 1, {4}, {1});
  const std::vector<int64_t> out = gather<int64_t>(windows, {MILL_I64, 1, 0}, {0, 1, 11});
  std::string back;
  for (const int64_t value : out) back.push_back(static_cast<char>(value));
  EXPECT_EQ(back, "the he minds");
}

TEST(Gather, ScalesPixelsExactly) {
  std::vector<uint8_t> pixels(256);
  std::iota(pixels.begin(), pixels.end(), uint8_t{0});
  const std::vector<float> out = gather<float>(column_of(pixels.data(), MILL_U8, 1, 0, {256}, {1}),
                                               {MILL_F32, 1 / 255.0, -0.5}, {0});
  for (size_t i = 0; i < 256; ++i)
    EXPECT_EQ(out[i], static_cast<float>(static_cast<double>(i) * (1 / 255.0) + -0.5));
}

TEST(Gather, ConvertsLongRowsInPieces) {
  std::vector<int16_t> data(2 * 1001);
  std::iota(data.begin(), data.end(), int16_t{-700});
  const std::vector<double> out =
      gather<double>(column_of(data.data(), MILL_I16, 1, 0, {1001}, {2}), {MILL_F64, 0.5, 1}, {0});
  for (size_t i = 0; i < 1001; ++i) ASSERT_EQ(out[i], (static_cast<double>(i) * 2 - 700) * 0.5 + 1);
}

TEST(Gather, ConvertsBetweenIntegersExactlyAndWraps) {
  EXPECT_EQ((convert<int64_t>(MILL_I64, MILL_I64, INT64_MAX)), INT64_MAX);
  EXPECT_EQ((convert<uint64_t>(MILL_I64, MILL_U64, int64_t{-1})), UINT64_MAX);
  EXPECT_EQ((convert<int64_t>(MILL_U64, MILL_I64, (uint64_t{1} << 62) + 1)),
            (int64_t{1} << 62) + 1);
  EXPECT_EQ((convert<uint8_t>(MILL_I32, MILL_U8, int32_t{-1})), 255);
  EXPECT_EQ((convert<int64_t>(MILL_I8, MILL_I64, int8_t{-3})), -3);
  EXPECT_EQ((convert<int64_t>(MILL_U32, MILL_I64, uint32_t{0xfffffffd})), 0xfffffffd);
}

TEST(Gather, ConvertsFloatsToIntegersByTruncationAndSaturation) {
  EXPECT_EQ((convert<int32_t>(MILL_F32, MILL_I32, -2.9f)), -2);
  EXPECT_EQ((convert<int32_t>(MILL_F64, MILL_I32, 1e300)), INT32_MAX);
  EXPECT_EQ((convert<int64_t>(MILL_F64, MILL_I64, -1e300)), INT64_MIN);
  EXPECT_EQ((convert<uint8_t>(MILL_F32, MILL_U8, -7.0f)), 0);
  EXPECT_EQ((convert<uint8_t>(MILL_F32, MILL_U8, 255.9f)), 255);
  EXPECT_EQ((convert<int32_t>(MILL_F32, MILL_I32, std::nanf(""))), 0);
  EXPECT_EQ((convert<int32_t>(MILL_U8, MILL_I32, uint8_t{10}, 0.25, 0.3)), 2);
}

TEST(Gather, TreatsAllButZeroAsTrue) {
  EXPECT_EQ((convert<uint8_t>(MILL_F32, MILL_BOOL, 0.25f)), 1);
  EXPECT_EQ((convert<uint8_t>(MILL_F32, MILL_BOOL, -0.0f)), 0);
  EXPECT_EQ((convert<uint8_t>(MILL_F32, MILL_BOOL, std::nanf(""))), 1);
  EXPECT_EQ((convert<uint8_t>(MILL_I32, MILL_BOOL, int32_t{256})), 1);
  EXPECT_EQ((convert<float>(MILL_BOOL, MILL_F32, uint8_t{1}, 3, 1)), 4.0f);
}

TEST(Gather, ConvertsTheSmallFloats) {
  EXPECT_EQ((convert<uint16_t>(MILL_F32, MILL_BF16, 1.5f)), to_bf16(1.5f).bits);
  EXPECT_EQ((convert<uint16_t>(MILL_F64, MILL_F16, 0.1)), to_f16(0.1f).bits);
  EXPECT_EQ((convert<float>(MILL_BF16, MILL_F32, to_bf16(3.25f))), 3.25f);
  EXPECT_EQ((convert<double>(MILL_F16, MILL_F64, to_f16(-0.5f), 2, 1)), 0.0);
  EXPECT_EQ((convert<uint8_t>(MILL_F32, MILL_F8E4M3, 1.0f)), to_f8e4m3(1.0f).bits);
  EXPECT_EQ((convert<float>(MILL_F8E5M2, MILL_F32, to_f8e5m2(0.75f))), 0.75f);
}

TEST(Gather, KeepsTheSignOfZeroAndInfinities) {
  EXPECT_TRUE(std::signbit(convert<double>(MILL_F32, MILL_F64, -0.0f)));
  EXPECT_TRUE(std::signbit(convert<float>(MILL_F32, MILL_F32, -0.0f, 2)));
  EXPECT_EQ((convert<double>(MILL_F32, MILL_F64, -INFINITY)),
            -std::numeric_limits<double>::infinity());
}

TEST(Gather, ReadsUnalignedMemory) {
  char memory[1 + 2 * sizeof(double)];
  const double values[2] = {1.5, -2.5};
  std::memcpy(memory + 1, values, sizeof values);
  EXPECT_EQ(gather<float>(column_of(memory + 1, MILL_F64, 2, 1), {MILL_F32, 2, 0}, {1, 0}),
            (std::vector<float>{-5, 3}));
  EXPECT_EQ(gather<double>(column_of(memory + 1, MILL_F64, 2, 1), {}, {1, 0}),
            (std::vector<double>{-2.5, 1.5}));
}

TEST(Gather, AcceptsEmptyRowsWithoutMemory) {
  EXPECT_TRUE(
      gather<float>(column_of(nullptr, MILL_F32, 3, 0, {0, 5}, {5, 1}), {}, {0, 1, 2}).empty());
}

void expect_refused(mill_status status, const char* part, const LoaderColumn& column,
                    const LoaderTransform& transform = {}) {
  try {
    const Gather plan(column, transform, 7);
    ADD_FAILURE() << "accepted: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), status);
    EXPECT_NE(std::string(error.text()).find("column 7"), std::string::npos) << error.text();
    EXPECT_NE(std::string(error.text()).find(part), std::string::npos) << error.text();
  }
}

TEST(Gather, RefusesWhatCannotBeGathered) {
  const float x = 1;
  const LoaderColumn good = column_of(&x, MILL_F32, 1, 1);
  expect_refused(MILL_E_ARG, "99 is no dtype", column_of(&x, 99, 1, 1));
  expect_refused(MILL_E_ARG, "-3 is no dtype", good, {-3, 1, 0});
  expect_refused(MILL_E_ARG, "scale nan", good, {MILL_F32, std::nan(""), 0});
  expect_refused(MILL_E_ARG, "shift inf", good, {MILL_F32, 1, INFINITY});
  expect_refused(MILL_E_ARG, "no data", column_of(nullptr, MILL_F32, 1, 1));
  expect_refused(MILL_E_DTYPE, "c64 cannot become f32", column_of(&x, MILL_C64, 1, 1),
                 {MILL_F32, 1, 0});
  expect_refused(MILL_E_DTYPE, "scale 2", column_of(&x, MILL_C64, 1, 1), {MILL_C64, 2, 0});
  expect_refused(MILL_E_SHAPE, "-1 rows", column_of(&x, MILL_F32, -1, 1));
  expect_refused(MILL_E_SHAPE, "stride -2", column_of(&x, MILL_F32, 1, -2));
  expect_refused(MILL_E_SHAPE, "row axis 1", column_of(&x, MILL_F32, 1, 1, {1, -4}, {1, 1}));
  expect_refused(MILL_E_SHAPE, "stride -5", column_of(&x, MILL_F32, 1, 1, {1, 4}, {1, -5}));
  expect_refused(MILL_E_SHAPE, "exceed", column_of(&x, MILL_F32, INT64_MAX, 2));
  expect_refused(MILL_E_SHAPE, "exceed",
                 column_of(&x, MILL_F32, 1, 1, {INT64_MAX / 4, 16}, {0, 0}));
  LoaderColumn deep = good;
  deep.rank = 8;
  expect_refused(MILL_E_SHAPE, "8 dimensions, the limit is 7", deep);
}

}  // namespace
}  // namespace mill
