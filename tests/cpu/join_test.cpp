#include <array>

#include "cpu/pointwise_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(join)

std::vector<int64_t> strides_of(const std::vector<int64_t>& dims, int order) {
  std::vector<int64_t> strides(dims.size());
  int64_t stride = order == 2 ? 2 : 1;
  for (size_t k = 0; k < dims.size(); ++k) {
    const size_t axis = order == 1 ? k : dims.size() - 1 - k;
    strides[axis] = stride;
    stride *= dims[axis];
  }
  return strides;
}

TEST(Concat, JoinsInputsOfAnyStridesAlongAnyAxis) {
  for (const Target& target : join_targets()) {
    for (int32_t dtype : {MILL_I8, MILL_BF16, MILL_F32, MILL_F64}) {
      for (int64_t axis = -3; axis < 3; ++axis) {
        const size_t at = static_cast<size_t>(axis < 0 ? axis + 3 : axis);
        for (int order = 0; order < 3; ++order) {
          std::vector<Tensor> inputs;
          std::vector<int64_t> whole = {5, 6, 7};
          whole[at] = 0;
          for (int64_t extent : {4, 0, 1, 35}) {
            std::vector<int64_t> dims = {5, 6, 7};
            dims[at] = extent;
            whole[at] += extent;
            inputs.emplace_back(dtype, dims,
                                strides_of(dims, (order + static_cast<int>(extent)) % 3));
            inputs.back().fill(static_cast<uint64_t>(extent), -90, 90);
          }
          std::vector<const Tensor*> pointers;
          for (const Tensor& t : inputs) pointers.push_back(&t);
          Tensor out(dtype, whole, strides_of(whole, order));
          ASSERT_EQ(launch(target.list, MILL_OP_CONCAT, pointers, {&out}, {int_attr(axis)}).status,
                    MILL_OK);
          for (int64_t i = 0; i < out.numel(); ++i) {
            std::vector<int64_t> index = {i / (whole[1] * whole[2]), i / whole[2] % whole[1],
                                          i % whole[2]};
            size_t k = 0;
            while (index[at] >= inputs[k].dim(static_cast<int32_t>(at)))
              index[at] -= inputs[k++].dim(static_cast<int32_t>(at));
            const Tensor& in = inputs[k];
            ASSERT_EQ(out[i], in[(index[0] * in.dim(1) + index[1]) * in.dim(2) + index[2]])
                << label(target, dtype) << " axis " << axis << " element " << i;
          }
        }
      }
    }
  }
}

TEST(Concat, ABadAxisIsRefusedInWords) {
  for (const Target& target : join_targets()) {
    Tensor x(MILL_F32, {2, 3});
    Tensor out(MILL_F32, {4, 3});
    for (int64_t axis : {2, -3}) {
      const Launch result = launch(target.list, MILL_OP_CONCAT, {&x, &x}, {&out}, {int_attr(axis)});
      EXPECT_EQ(result.status, MILL_E_ARG);
      EXPECT_EQ(result.text, "axis is " + std::to_string(axis) + ", must be -2 to 1");
      EXPECT_TRUE(out.untouched());
    }
  }
}

TEST(SliceBackward, PutsTheGradientWhereItCameFromAndZerosElsewhere) {
  for (const Target& target : join_targets()) {
    for (int32_t dtype : {MILL_I8, MILL_BF16, MILL_F32, MILL_F64}) {
      for (int64_t axis = -3; axis < 3; ++axis) {
        const size_t at = static_cast<size_t>(axis < 0 ? axis + 3 : axis);
        for (int64_t start : {0, 1, 4}) {
          for (int64_t step : {1, 2, 5}) {
            for (int order = 0; order < 3; ++order) {
              const std::vector<int64_t> dims = {8, 9, 10};
              for (int64_t extent : {int64_t{0}, int64_t{1}, (dims[at] - 1 - start) / step + 1}) {
                std::vector<int64_t> part = dims;
                part[at] = extent;
                Tensor g(dtype, part, strides_of(part, (order + 1) % 3));
                g.fill(2, 1, 90);
                Tensor out(dtype, dims, strides_of(dims, order));
                ASSERT_EQ(launch(target.list, MILL_OP_SLICE_BACKWARD, {&g}, {&out},
                                 {ints_attr(dims), int_attr(axis), int_attr(start), int_attr(step)})
                              .status,
                          MILL_OK);
                for (int64_t i = 0; i < out.numel(); ++i) {
                  std::vector<int64_t> index = {i / 90, i / 10 % 9, i % 10};
                  const int64_t from = index[at] - start;
                  double want = 0;
                  if (from >= 0 && from % step == 0 && from / step < extent) {
                    index[at] = from / step;
                    want = g[(index[0] * part[1] + index[1]) * part[2] + index[2]];
                  }
                  ASSERT_EQ(out[i], want) << label(target, dtype) << " axis " << axis << " start "
                                          << start << " step " << step;
                }
              }
            }
          }
        }
      }
    }
  }
}

TEST(SliceBackward, IndicesOutsideTheOutputAreRefused) {
  for (const Target& target : join_targets()) {
    Tensor g(MILL_F32, {3});
    Tensor out(MILL_F32, {5});
    const std::vector<int64_t> dims = {5};
    for (const auto& [axis, start, step] : std::vector<std::array<int64_t, 3>>{{1, 0, 1},
                                                                               {-2, 0, 1},
                                                                               {0, -1, 1},
                                                                               {0, 3, 1},
                                                                               {0, 0, 3},
                                                                               {0, 0, 0},
                                                                               {0, 0, -1},
                                                                               {0, 0, INT64_MAX},
                                                                               {0, INT64_MAX, 1}}) {
      const Launch result =
          launch(target.list, MILL_OP_SLICE_BACKWARD, {&g}, {&out},
                 {ints_attr(dims), int_attr(axis), int_attr(start), int_attr(step)});
      EXPECT_EQ(result.status, MILL_E_ARG) << axis << " " << start << " " << step;
      EXPECT_TRUE(out.untouched());
    }
  }
}

}  // namespace
}  // namespace mill::cpu::test
