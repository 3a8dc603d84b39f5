// Row look-up and its gradient: every unit of copying, sorts of one and of several tiles and
// passes, runs of one row across parts.
#include <cmath>

#include "sim/kernel_harness.h"

namespace mill::sim::test {
namespace {

using cpu::test::epsilon_of;
using cpu::test::float_dtypes;
using cpu::test::int_attr;

enum class Ids { even, one, skewed };

Tensor ids_below(int32_t dtype, int64_t n, int64_t rows, Ids kind = Ids::even) {
  Tensor ids(dtype, {n});
  std::mt19937_64 engine(3);
  for (int64_t i = 0; i < n; ++i) {
    auto id = static_cast<int64_t>(engine() % static_cast<uint64_t>(rows));
    if (kind == Ids::one) id = rows - 1;
    if (kind == Ids::skewed) {
      const double unit = static_cast<double>(engine() >> 11) * 0x1p-53;
      id = std::min(rows - 1, static_cast<int64_t>(std::pow(static_cast<double>(rows), unit)) - 1);
    }
    ids.set(i, static_cast<double>(id));
  }
  return ids;
}

// Element i of g is added at row ids[i / width], in f64; *sizes: the same with absolute values.
std::vector<double> gradient_of(const Tensor& g, const Tensor& ids, int64_t rows,
                                std::vector<double>* sizes) {
  const int64_t width = g.dim(1);
  std::vector<double> sum(static_cast<size_t>(rows * width));
  sizes->assign(sum.size(), 0);
  for (int64_t i = 0; i < g.numel(); ++i) {
    const auto at = static_cast<size_t>(static_cast<int64_t>(ids[i / width]) * width + i % width);
    sum[at] += g[i];
    (*sizes)[at] += std::abs(g[i]);
  }
  return sum;
}

TEST(EmbeddingKernel, CopiesRowsInUnitsOfEverySize) {
  Bench bench;
  for (const int32_t dtype : {MILL_BOOL, MILL_BF16, MILL_F32, MILL_F64, MILL_C128}) {
    for (const int64_t width : {1, 2, 3, 4, 8, 67, 1536}) {
      for (const uint64_t shift : {0, 1}) {
        Tensor weight(dtype, {11, width});
        const auto row = static_cast<size_t>(width * dtype_size(dtype));
        auto* bytes = static_cast<uint8_t*>(weight.view()->data);
        for (size_t i = 0; i < 11 * row; ++i) bytes[i] = static_cast<uint8_t>(i * 131 + (i >> 8));
        const Tensor ids = ids_below(MILL_I16, 23, 11);
        Tensor out(dtype, {23, width});
        const Launch result = bench.run(MILL_OP_EMBEDDING, {&weight, &ids}, {&out}, {}, shift);
        ASSERT_EQ(result.status, MILL_OK) << result.text;
        for (int64_t i = 0; i < 23; ++i) {
          ASSERT_EQ(
              std::memcmp(static_cast<uint8_t*>(out.view()->data) + static_cast<size_t>(i) * row,
                          bytes + static_cast<size_t>(ids[i]) * row, row),
              0)
              << "dtype " << dtype << ", width " << width << ", row " << i;
        }
      }
    }
  }
}

TEST(EmbeddingKernel, ReportsTheFirstIdOutOfRangeAtTheWait) {
  Bench bench;
  Tensor weight(MILL_F32, {7, 3});
  weight.fill(1);
  Tensor ids = ids_below(MILL_I32, 700, 7);
  ids.set(600, -1);
  ids.set(500, 9);
  Tensor out(MILL_F32, {700, 3});
  const Launch forward = bench.run(MILL_OP_EMBEDDING, {&weight, &ids}, {&out});
  EXPECT_EQ(forward.status, MILL_E_INDEX);
  EXPECT_EQ(forward.text, "embedding: element 500 of input 1 is 9, it must be in [0, 7)");
  EXPECT_EQ(out[3 * 500], 0);
  Tensor g(MILL_F32, {700, 3});
  g.fill(2);
  Tensor gradient(MILL_F32, {7, 3});
  const Launch backward =
      bench.run(MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&gradient}, {int_attr(7)});
  EXPECT_EQ(backward.status, MILL_E_INDEX);
  EXPECT_EQ(backward.text, "embedding_backward: element 500 of input 1 is 9, it must be in [0, 7)");
  Tensor no_columns(MILL_F32, {7, 0});
  Tensor nothing(MILL_F32, {700, 0});
  EXPECT_EQ(bench.run(MILL_OP_EMBEDDING, {&no_columns, &ids}, {&nothing}).status, MILL_E_INDEX);
}

TEST(EmbeddingBackwardKernel, AddsTheRowsOfEachId) {
  Bench bench;
  for (const int32_t dtype : float_dtypes()) {
    for (const int64_t width : {1, 8, 67}) {
      for (const int64_t rows : {1, 13, 256, 257, 70000}) {
        for (const int64_t n : {0, 1, 32, 33, 2049}) {
          for (const Ids kind : {Ids::even, Ids::one, Ids::skewed}) {
            if (rows * width > 600000) continue;
            Tensor g(dtype, {n, width});
            g.fill(5);
            const Tensor ids = ids_below(MILL_I32, n, rows, kind);
            Tensor out(dtype, {rows, width});
            const Launch result = bench.run(MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&out},
                                            {int_attr(rows)}, static_cast<uint64_t>(n % 2));
            ASSERT_EQ(result.status, MILL_OK) << result.text;
            std::vector<double> sizes;
            const std::vector<double> want = gradient_of(g, ids, rows, &sizes);
            const double unit = dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
            for (int64_t i = 0; i < out.numel(); ++i) {
              const auto at = static_cast<size_t>(i);
              ASSERT_NEAR(out[i], want[at],
                          1.01 * epsilon_of(dtype) * std::abs(want[at]) + 40 * unit * sizes[at])
                  << "dtype " << dtype << ", width " << width << ", rows " << rows << ", n " << n;
            }
          }
        }
      }
    }
  }
}

TEST(EmbeddingBackwardKernel, AddsInTheOrderOfIdsWhateverRunsFirst) {
  Bench bench;
  constexpr int64_t kRows = 50000;
  constexpr int64_t kIds = 30000;  // several tiles of the sort, two passes
  Tensor g(MILL_F32, {kIds, 4});
  g.fill(5, -1e6, 1e6);
  const Tensor ids = ids_below(MILL_I32, kIds, kRows, Ids::skewed);
  Tensor first(MILL_F32, {kRows, 4});
  ASSERT_EQ(bench.run(MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&first}, {int_attr(kRows)}).status,
            MILL_OK);
  for (const int64_t order : {1, 2}) {
    bench.set_order(order);
    Tensor again(MILL_F32, {kRows, 4});
    ASSERT_EQ(bench.run(MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&again}, {int_attr(kRows)}).status,
              MILL_OK);
    EXPECT_TRUE(first.same_bits(again)) << "order " << order;
  }
  // Rows whose positions one part holds are sums one after the other.
  constexpr int64_t kPart = 32;
  std::vector<std::vector<int64_t>> positions(kRows);
  for (int64_t i = 0; i < kIds; ++i) positions[static_cast<size_t>(ids[i])].push_back(i);
  int64_t begin = 0;
  int64_t checked = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    const std::vector<int64_t>& mine = positions[static_cast<size_t>(r)];
    const int64_t end = begin + static_cast<int64_t>(mine.size());
    if (mine.size() > 1 && begin / kPart == (end - 1) / kPart) {
      float sum = 0;
      for (const int64_t i : mine) sum += static_cast<float>(g[4 * i + 1]);
      ASSERT_EQ(first[4 * r + 1], static_cast<double>(sum)) << "row " << r;
      ++checked;
    }
    begin = end;
  }
  EXPECT_GT(checked, 1000);
}

}  // namespace
}  // namespace mill::sim::test
