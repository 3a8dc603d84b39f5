// What is handed to a BLAS has to be the op's product: each case is computed from the shape as a
// column-major BLAS would, and compared with the definition.
#include "gpu/runtime/cuda/gemm_shape.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "millrace/op_numbers.h"

namespace {

using mill::cuda::GemmMatrix;
using mill::cuda::GemmShape;
using mill::cuda::shape_gemm;

struct Tensor {
  mill_kernel_tensor view{};
  std::vector<double> data;

  Tensor(std::initializer_list<int64_t> dims, std::initializer_list<int64_t> strides = {}) {
    view.rank = static_cast<int32_t>(dims.size());
    view.numel = 1;
    int32_t axis = 0;
    for (const int64_t dim : dims) {
      view.dims[axis++] = dim;
      view.numel *= dim;
    }
    int64_t step = 1;
    for (int32_t i = view.rank; i-- > 0;) {
      view.strides[i] = step;
      step *= view.dims[i];
    }
    axis = 0;
    for (const int64_t stride : strides) view.strides[axis++] = stride;
    int64_t last = 0;
    for (int32_t i = 0; i < view.rank; ++i) {
      if (view.dims[i] > 0) last += (view.dims[i] - 1) * view.strides[i];
    }
    data.resize(static_cast<size_t>(last) + 1);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<double>((i * 7 + 3) % 11) - 5;
  }
  double& at(int64_t offset) { return data[static_cast<size_t>(offset)]; }
};

int64_t offset_of(const mill_kernel_tensor& t, const std::vector<int64_t>& index) {
  int64_t offset = 0;
  for (size_t i = 0; i < index.size(); ++i) offset += t.dims[i] == 1 ? 0 : index[i] * t.strides[i];
  return offset;
}

// The right-aligned part of an index of the batch axes that `t` has, its last two axes appended.
double element(Tensor& t, const std::vector<int64_t>& batch, int64_t row, int64_t col) {
  std::vector<int64_t> index;
  const size_t mine = t.view.rank > 2 ? static_cast<size_t>(t.view.rank) - 2 : 0;
  for (size_t i = batch.size() - mine; i < batch.size(); ++i) index.push_back(batch[i]);
  for (size_t i = 0; i < mine; ++i) {
    if (t.view.dims[i] == 1) index[i] = 0;
  }
  index.push_back(row);
  index.push_back(col);
  return t.at(offset_of(t.view, index));
}

const char* shape_of(int32_t op, std::initializer_list<const Tensor*> in, const Tensor& out,
                     GemmShape* shape) {
  std::vector<const mill_kernel_tensor*> inputs;
  for (const Tensor* t : in) inputs.push_back(t ? &t->view : nullptr);
  const mill_kernel_tensor* outputs[] = {&out.view};
  mill_kernel_args args{};
  args.in = inputs.data();
  args.n_in = static_cast<uint32_t>(inputs.size());
  args.out = outputs;
  args.n_out = 1;
  return shape_gemm(op, &args, shape);
}

double read(Tensor& t, const GemmMatrix& matrix, int64_t batch, int64_t row, int64_t col) {
  if (matrix.transposed) std::swap(row, col);
  EXPECT_LT(row, matrix.rows);
  EXPECT_LT(col, matrix.cols);
  return t.at(batch * matrix.batch_stride + col * matrix.ld + row);
}

// What a BLAS writes.
void multiply(const GemmShape& s, Tensor& first, Tensor& second, Tensor& out, Tensor* bias) {
  ASSERT_FALSE(s.d.transposed);
  ASSERT_GE(s.d.ld, s.d.rows);
  Tensor& a = s.swapped ? second : first;
  Tensor& b = s.swapped ? first : second;
  for (int64_t batch = 0; batch < s.batch; ++batch) {
    for (int64_t j = 0; j < s.n; ++j) {
      for (int64_t i = 0; i < s.m; ++i) {
        double sum = bias ? bias->at(i) : 0;
        for (int64_t k = 0; k < s.k; ++k)
          sum += read(a, s.a, batch, i, k) * read(b, s.b, batch, k, j);
        out.at(batch * s.d.batch_stride + j * s.d.ld + i) = sum;
      }
    }
  }
}

// Two operands and a result of at least two axes.
void expect_matmul(Tensor a, Tensor b, Tensor out) {
  GemmShape shape{};
  ASSERT_EQ(shape_of(MILL_OP_MATMUL, {&a, &b}, out, &shape), nullptr);
  multiply(shape, a, b, out, nullptr);
  const auto axes = static_cast<size_t>(out.view.rank) - 2;
  std::vector<int64_t> batch(axes, 0);
  for (;;) {
    for (int64_t i = 0; i < out.view.dims[axes]; ++i) {
      for (int64_t j = 0; j < out.view.dims[axes + 1]; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < a.view.dims[a.view.rank - 1]; ++k)
          sum += element(a, batch, i, k) * element(b, batch, k, j);
        ASSERT_EQ(element(out, batch, i, j), sum) << i << ", " << j;
      }
    }
    size_t axis = axes;
    while (axis > 0 && ++batch[axis - 1] == out.view.dims[axis - 1]) batch[--axis] = 0;
    if (axis == 0) return;
  }
}

TEST(GemmShape, RowMajorMatrices) {
  expect_matmul({{3, 4}}, {{4, 5}}, {{3, 5}});
}

TEST(GemmShape, TransposedOperands) {
  expect_matmul({{3, 4}, {1, 3}}, {{4, 5}}, {{3, 5}});
  expect_matmul({{3, 4}}, {{4, 5}, {1, 4}}, {{3, 5}});
  expect_matmul({{3, 4}, {1, 3}}, {{4, 5}, {1, 4}}, {{3, 5}});
}

TEST(GemmShape, ColumnMajorResult) {
  expect_matmul({{3, 4}}, {{4, 5}}, {{3, 5}, {1, 3}});
  expect_matmul({{3, 4}, {1, 3}}, {{4, 5}, {1, 7}}, {{3, 5}, {1, 6}});
}

TEST(GemmShape, RowsWithGaps) {
  expect_matmul({{3, 4}, {9, 1}}, {{4, 5}, {1, 8}}, {{3, 5}, {6, 1}});
}

TEST(GemmShape, AxesOfOneElementWithAnyStride) {
  expect_matmul({{1, 4}, {77, 3}}, {{4, 5}}, {{1, 5}, {-2, 1}});
  expect_matmul({{3, 1}, {2, 99}}, {{1, 5}, {99, 1}}, {{3, 5}});
  expect_matmul({{3, 4}}, {{4, 1}, {2, 50}}, {{3, 1}, {6, 50}});
  expect_matmul({{1, 1}, {9, 9}}, {{1, 1}, {9, 9}}, {{1, 1}, {9, 9}});
}

TEST(GemmShape, BatchesWithOneStride) {
  expect_matmul({{2, 3, 4}}, {{2, 4, 5}}, {{2, 3, 5}});
  expect_matmul({{2, 2, 3, 4}}, {{2, 2, 4, 5}}, {{2, 2, 3, 5}});
  expect_matmul({{2, 3, 4}, {20, 4, 1}}, {{2, 4, 5}, {40, 1, 8}}, {{2, 3, 5}});
}

TEST(GemmShape, SharedOperandOfABatchIsRowsOrStrideZero) {
  GemmShape shape{};
  Tensor a({6, 3, 4}), weight({4, 5}), out({6, 3, 5});
  ASSERT_EQ(shape_of(MILL_OP_MATMUL, {&a, &weight}, out, &shape), nullptr);
  EXPECT_EQ(shape.batch, 1);
  EXPECT_EQ(shape.n, 18);
  expect_matmul({{6, 3, 4}}, {{4, 5}}, {{6, 3, 5}});
  expect_matmul({{3, 4}}, {{6, 4, 5}}, {{6, 3, 5}});
  expect_matmul({{6, 3, 4}, {15, 4, 1}}, {{4, 5}}, {{6, 3, 5}});
}

TEST(GemmShape, LinearTakesItsBiasAlongTheRowsOfTheTransposedResult) {
  Tensor x({2, 3, 4}), weight({5, 4}), bias({5}), out({2, 3, 5});
  GemmShape shape{};
  ASSERT_EQ(shape_of(MILL_OP_LINEAR, {&x, &weight, &bias}, out, &shape), nullptr);
  EXPECT_TRUE(shape.swapped);
  EXPECT_EQ(shape.m, 5);
  EXPECT_EQ(shape.n, 6);
  multiply(shape, x, weight, out, &bias);
  for (int64_t row = 0; row < 6; ++row) {
    for (int64_t j = 0; j < 5; ++j) {
      double sum = bias.at(j);
      for (int64_t k = 0; k < 4; ++k) sum += x.at(row * 4 + k) * weight.at(j * 4 + k);
      ASSERT_EQ(out.at(row * 5 + j), sum);
    }
  }
}

TEST(GemmShape, RefusesInWordsWhatIsNoSingleProduct) {
  GemmShape shape{};
  const Tensor a({3, 4}), b({4, 5}), out({3, 5});
  EXPECT_STREQ(shape_of(MILL_OP_MATMUL, {&a, &b}, Tensor({3, 5}, {20, 2}), &shape),
               "neither axis of the result is contiguous");
  const Tensor strided({3, 4}, {16, 2});
  EXPECT_STREQ(shape_of(MILL_OP_MATMUL, {&strided, &b}, out, &shape),
               "neither axis of an operand is contiguous");
  const Tensor repeated({3, 4}, {0, 1});
  EXPECT_STREQ(shape_of(MILL_OP_MATMUL, {&repeated, &b}, out, &shape),
               "neither axis of an operand is contiguous");
  const Tensor nothing({3, 0}), none({0, 5});
  EXPECT_STREQ(shape_of(MILL_OP_MATMUL, {&nothing, &none}, out, &shape),
               "there is nothing to multiply");
  const Tensor many({2, 2, 3, 4}), one_side({2, 1, 4, 5}), result({2, 2, 3, 5});
  const Tensor other({2, 2, 4, 5}, {20, 60, 5, 1});
  EXPECT_STREQ(shape_of(MILL_OP_MATMUL, {&many, &other}, result, &shape),
               "the batch axes have no common stride");
  const Tensor x({3, 4}), weight({5, 4}), gaps({5}, {2});
  EXPECT_STREQ(shape_of(MILL_OP_LINEAR, {&x, &weight, &gaps}, out, &shape),
               "the bias is not contiguous");
  const Tensor bias({5}), columns({3, 5}, {1, 3});
  EXPECT_STREQ(shape_of(MILL_OP_LINEAR, {&x, &weight, &bias}, columns, &shape),
               "the bias does not run along the result's contiguous axis");
}

}  // namespace
