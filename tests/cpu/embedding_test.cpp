#include "cpu/rows_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(embedding)

std::vector<int32_t> index_dtypes() {
  return {MILL_U8, MILL_I8, MILL_I16, MILL_I32, MILL_I64};
}

Tensor ids_below(int32_t dtype, int64_t n, int64_t rows, uint64_t seed = 3) {
  Tensor ids(dtype, {n});
  std::mt19937_64 engine(seed);
  for (int64_t i = 0; i < n; ++i)
    ids.set(i, static_cast<double>(engine() % static_cast<uint64_t>(rows)));
  return ids;
}

TEST(Embedding, CopiesTheRowsOfEveryDtype) {
  for (const Target& target : embedding_targets()) {
    for (const int32_t dtype : {MILL_F32, MILL_F64, MILL_BF16, MILL_F16, MILL_U8, MILL_I64}) {
      for (const int32_t index : index_dtypes()) {
        Tensor weight(dtype, {11, 5});
        weight.fill(1, 0, 100);
        Tensor ids = ids_below(index, 23, 11);
        Tensor out(dtype, {23, 5});
        ASSERT_EQ(launch(target.list, MILL_OP_EMBEDDING, {&weight, &ids}, {&out}).status, MILL_OK);
        for (int64_t i = 0; i < 23; ++i) {
          for (int64_t j = 0; j < 5; ++j) {
            ASSERT_EQ(out[i * 5 + j], weight[static_cast<int64_t>(ids[i]) * 5 + j])
                << label(target, dtype);
          }
        }
      }
    }
  }
}

TEST(Embedding, TakesNoIdsAndEmptyRows) {
  for (const Target& target : embedding_targets()) {
    Tensor weight(MILL_F32, {4, 3});
    Tensor none(MILL_I64, {0});
    Tensor out(MILL_F32, {0, 3});
    EXPECT_EQ(launch(target.list, MILL_OP_EMBEDDING, {&weight, &none}, {&out}).status, MILL_OK);
    Tensor narrow(MILL_F32, {4, 0});
    Tensor ids = ids_below(MILL_I64, 6, 4);
    Tensor empty(MILL_F32, {6, 0});
    EXPECT_EQ(launch(target.list, MILL_OP_EMBEDDING, {&narrow, &ids}, {&empty}).status, MILL_OK);
  }
}

TEST(Embedding, NamesTheFirstIdOutOfRangeAndWritesNothing) {
  for (const Target& target : embedding_targets()) {
    Tensor weight(MILL_F32, {7, 3});
    weight.fill(1);
    Tensor ids = ids_below(MILL_I32, 700, 7);
    ids.set(600, -1);
    ids.set(500, 9);
    Tensor out(MILL_F32, {700, 3});
    const Launch result = launch(target.list, MILL_OP_EMBEDDING, {&weight, &ids}, {&out}, {}, 2);
    EXPECT_EQ(result.status, MILL_E_INDEX);
    EXPECT_EQ(result.text, "id 9 at position 500 is outside [0, 7)");
    EXPECT_TRUE(out.untouched());

    Tensor g(MILL_F32, {700, 3});
    g.fill(2);
    Tensor gradient(MILL_F32, {7, 3});
    ids.set(500, 0);
    const Launch backward =
        launch(target.list, MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&gradient}, {int_attr(7)});
    EXPECT_EQ(backward.status, MILL_E_INDEX);
    EXPECT_EQ(backward.text, "id -1 at position 600 is outside [0, 7)");
    EXPECT_TRUE(gradient.untouched());
  }
}

TEST(EmbeddingBackward, AddsTheRowsOfEachId) {
  for (const Target& target : embedding_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const int64_t width : {1, 3, 24, 67, 130}) {
        for (const int64_t n : {0, 1, 300}) {
          const int64_t rows = 13;
          Tensor g(dtype, {n, width});
          g.fill(5);
          Tensor ids = ids_below(MILL_I64, n, rows - 1);
          Tensor out(dtype, {rows, width});
          ASSERT_EQ(launch(target.list, MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&out},
                           {int_attr(rows)}, 2)
                        .status,
                    MILL_OK);
          std::vector<double> want(static_cast<size_t>(rows * width));
          for (int64_t i = 0; i < n; ++i) {
            for (int64_t j = 0; j < width; ++j) {
              want[static_cast<size_t>(static_cast<int64_t>(ids[i]) * width + j)] +=
                  g[i * width + j];
            }
          }
          // Sums of up to 300 / 12 or so values below 2 in f32, then one rounding to the dtype.
          const double unit = dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
          expect_close(out, want, 1.01 * epsilon_of(dtype), 2000 * unit, label(target, dtype));
        }
      }
    }
  }
}

TEST(EmbeddingBackward, AccumulatesHalvesInSinglePrecision) {
  for (const Target& target : embedding_targets()) {
    Tensor g(MILL_BF16, {4096, 2});
    for (int64_t i = 0; i < g.numel(); ++i) g.set(i, 1);
    Tensor ids(MILL_U8, {4096});
    for (int64_t i = 0; i < 4096; ++i) ids.set(i, 1);
    Tensor out(MILL_BF16, {3, 2});
    ASSERT_EQ(
        launch(target.list, MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&out}, {int_attr(3)}).status,
        MILL_OK);
    EXPECT_EQ(out[2], 4096);  // bf16 accumulation would stop at 256
    EXPECT_EQ(out[0], 0);
    EXPECT_EQ(out[5], 0);
  }
}

TEST(EmbeddingBackward, DoesNotDependOnThreads) {
  for (const Target& target : embedding_targets()) {
    Tensor g(MILL_F32, {5000, 40});
    g.fill(8);
    Tensor ids = ids_below(MILL_I32, 5000, 90);
    Tensor one(MILL_F32, {90, 40});
    Tensor three = one;
    ASSERT_EQ(
        launch(target.list, MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&one}, {int_attr(90)}).status,
        MILL_OK);
    ASSERT_EQ(
        launch(target.list, MILL_OP_EMBEDDING_BACKWARD, {&g, &ids}, {&three}, {int_attr(90)}, 3)
            .status,
        MILL_OK);
    EXPECT_TRUE(one.same_bits(three));
  }
}

}  // namespace
}  // namespace mill::cpu::test
