// What sorts, resizes and rotates, and sequences of ops, called wrongly.
#include <cmath>
#include <string>
#include <vector>

#include "api/refusal.h"

namespace mill_test {
namespace {

using BadCompose = BadInput;

TEST_F(BadCompose, LinesAndTriangles) {
  mill_tensor* const x = f.tensor({2, 3});
  mill_tensor* index = nullptr;
  const auto topk = [&](mill_tensor* of, int64_t k, int64_t axis) {
    return [this, &index, of, k, axis](mill_tensor** out) {
      return mill_topk(f.exec(), of, k, axis, 1, out, &index, f.err());
    };
  };
  refuse(MILL_E_ARG, {"topk", "k is 4", "0 to 3", "axis 1"}, topk(x, 4, -1));
  refuse(MILL_E_ARG, {"topk", "k is -1", "0 to 2"}, topk(x, -1, 0));
  refuse(MILL_E_ARG, {"topk", "axis", "2"}, topk(x, 1, 2));
  refuse(MILL_E_SHAPE, {"topk", "x is []"}, topk(f.tensor({}), 1, 0));
  refuse(MILL_E_SHAPE, {"sort", "x is []"},
         [&](auto out) { return mill_sort(f.exec(), f.tensor({}), 0, 0, out, &index, f.err()); });
  EXPECT_EQ(index, nullptr);
  refuse(MILL_E_SHAPE, {"tril", "x is [3]"},
         [&](auto out) { return mill_tril(f.exec(), f.tensor({3}), 0, out, f.err()); });
  refuse(MILL_E_ARG, {"one_hot", "depth is -2"}, [&](auto out) {
    return mill_one_hot(f.exec(), f.ids({3}), -2, -1, MILL_F32, 1, 0, out, f.err());
  });
  refuse(MILL_E_ARG, {"one_hot", "axis", "2"}, [&](auto out) {
    return mill_one_hot(f.exec(), f.ids({3}), 4, 2, MILL_F32, 1, 0, out, f.err());
  });
}

TEST_F(BadCompose, SizesAndScales) {
  mill_tensor* const x = f.tensor({1, 2, 4, 5});
  const auto resize = [&](mill_tensor* of, std::vector<int64_t> sizes, std::vector<double> scales,
                          int64_t mode = 1, int64_t transform = 0, int64_t rounding = 0) {
    return [=, this](mill_tensor** out) {
      return mill_resize(f.exec(), of, sizes.data(), static_cast<uint32_t>(sizes.size()),
                         scales.data(), static_cast<uint32_t>(scales.size()), mode, transform,
                         rounding, -0.75, 0, out, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"resize", "x has rank 2"}, resize(f.tensor({2, 3}), {3}, {}));
  refuse(MILL_E_ARG, {"resize", "sizes has 1", "2 spatial axes"}, resize(x, {3}, {}));
  refuse(MILL_E_SHAPE, {"resize", "axis 1", "size 0"}, resize(x, {3, 0}, {}));
  refuse(MILL_E_SHAPE, {"resize", "axis 0 x has size 0"}, resize(f.tensor({1, 2, 0}), {3}, {}));
  refuse(MILL_E_ARG, {"resize", "scales has 1"}, resize(x, {3, 3}, {1.5}));
  refuse(MILL_E_ARG, {"resize", "scales[1] is 0"}, resize(x, {3, 3}, {1.5, 0}));
  refuse(MILL_E_ARG, {"resize", "mode is 3", "2"}, resize(x, {3, 3}, {}, 3));
  refuse(MILL_E_ARG, {"resize", "transform is -1", "5"}, resize(x, {3, 3}, {}, 1, -1));
  refuse(MILL_E_ARG, {"resize", "rounding is 4", "3"}, resize(x, {3, 3}, {}, 0, 0, 4));
  const int64_t dims[] = {1, 3, 4, 5};
  refuse(MILL_E_SHAPE, {"resize_backward", "g is [1, 2, 4, 5]", "axis 1", "3"}, [&](auto out) {
    return mill_resize_backward(f.exec(), x, dims, 4, nullptr, 0, 1, 0, 0, -0.75, 0, out, f.err());
  });
}

TEST_F(BadCompose, Rotations) {
  const auto rotate = [&](mill_tensor* x, mill_tensor* positions, double base, int64_t width) {
    return [this, x, positions, base, width](mill_tensor** out) {
      return mill_rotary(f.exec(), x, positions, base, width, 0, 0, out, f.err());
    };
  };
  mill_tensor* const x = f.tensor({2, 3, 4, 6});
  refuse(MILL_E_SHAPE, {"rotary", "x is [6]"}, rotate(f.tensor({6}), nullptr, 10000, -1));
  refuse(MILL_E_SHAPE, {"rotary", "5 features"}, rotate(f.tensor({4, 5}), nullptr, 10000, -1));
  refuse(MILL_E_ARG, {"rotary", "width is 3", "0 to 6"}, rotate(x, nullptr, 10000, 3));
  refuse(MILL_E_ARG, {"rotary", "width is 8", "0 to 6"}, rotate(x, nullptr, 10000, 8));
  refuse(MILL_E_ARG, {"rotary", "base is 0"}, rotate(x, nullptr, 0, -1));
  refuse(MILL_E_SHAPE, {"rotary", "positions is [3]", "[4] or [2, 4]"},
         rotate(x, f.ids({3}), 10000, -1));
}

TEST_F(BadCompose, Equations) {
  mill_tensor* const a = f.tensor({2, 3});
  mill_tensor* const b = f.tensor({4, 2});
  const auto sum = [&](const char* equation, std::vector<mill_tensor*> in) {
    return [this, equation, in](mill_tensor** out) {
      return mill_einsum(f.exec(), equation, MILL_NTS, in.data(), static_cast<uint32_t>(in.size()),
                         out, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"letter j has size 3 in input 0 and 4 in input 1"},
         sum("ij,jk->ik", {a, b}));
  refuse(MILL_E_SHAPE, {"letter i has size 2 in input 0 and 3 in input 0"}, sum("ii", {a}));
  refuse(MILL_E_SHAPE, {"\"...\" has size"}, sum("...,...", {a, b}));
  refuse(MILL_E_SHAPE, {"term 0 has 3 letters", "[2, 3]"}, sum("ijk->i", {a}));
  refuse(MILL_E_SHAPE, {"term 0 has 3 letters beside \"...\""}, sum("ij...k", {a}));
  refuse(MILL_E_ARG, {"2 terms", "1 input is given"}, sum("ij,jk", {a}));
  refuse(MILL_E_ARG, {"letter k of the result is in no term"}, sum("ij->ik", {a}));
  refuse(MILL_E_ARG, {"letter i is twice in the result"}, sum("ij->ii", {a}));
  refuse(MILL_E_ARG, {"0x31", "no letter"}, sum("i1", {a}));
  refuse(MILL_E_ARG, {"no letter"}, sum("ij->i->j", {a}));
  refuse(MILL_E_ARG, {"other dots"}, sum("i..j", {a}));
  refuse(MILL_E_ARG, {"other dots"}, sum("...i...", {a}));
  refuse(MILL_E_ARG, {"n_inputs is 0"}, sum("", {}));
  refuse(MILL_E_DTYPE, {}, sum("ij,kl->ijkl", {a, f.tensor({2, 2}, MILL_BOOL, 1)}));
  refuse(MILL_E_SHAPE, {"9 axes"},
         sum("abcdefgh,i->abcdefghi", {f.tensor({1, 1, 1, 1, 1, 1, 1, 1}), f.tensor({2})}));
}

TEST_F(BadCompose, Losses) {
  mill_tensor* const x = f.tensor({2, 3});
  const auto mse = [&](mill_tensor* a, mill_tensor* b, int64_t reduction) {
    return [this, a, b, reduction](mill_tensor** out) {
      return mill_mse_loss(f.exec(), a, b, reduction, out, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"target is [3]", "x is [2, 3]"}, mse(x, f.tensor({3}), 0));
  refuse(MILL_E_DTYPE, {"target is i64"}, mse(x, f.ids({2, 3}), 0));
  refuse(MILL_E_ARG, {"reduction is 3", "0 to 2"}, mse(x, x, 3));
  refuse(MILL_E_ARG, {"delta is 0"},
         [&](auto out) { return mill_huber_loss(f.exec(), x, x, 0, 0, out, f.err()); });
  refuse(MILL_E_ARG, {"beta is -1"},
         [&](auto out) { return mill_smooth_l1_loss(f.exec(), x, x, -1, 0, out, f.err()); });
  refuse(MILL_E_SHAPE, {"pos_weight is [2, 2, 3]", "[2, 3]"}, [&](auto out) {
    return mill_bce_with_logits_loss(f.exec(), x, x, f.tensor({2, 2, 3}), 0, out, f.err());
  });
  const auto nll = [&](mill_tensor* labels, mill_tensor* weight) {
    return [this, x, labels, weight](mill_tensor** out) {
      return mill_nll_loss(f.exec(), x, labels, weight, 0, -100, out, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"labels is [3]", "[2]"}, nll(f.ids({3}), nullptr));
  refuse(MILL_E_DTYPE, {"labels is f32"}, nll(f.tensor({2}), nullptr));
  refuse(MILL_E_SHAPE, {"weight is [2]", "[3]"}, nll(f.ids({2}), f.tensor({2})));
  refuse(MILL_E_INDEX, {"3"}, nll(f.ids({2}, 3), nullptr));
  const int64_t sizes[] = {2, 0};
  const auto pool = [&](mill_tensor* of, uint32_t n) {
    return [this, of, n, &sizes](mill_tensor** out) {
      return mill_adaptive_avg_pool(f.exec(), of, sizes, n, out, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"x has rank 2"}, pool(x, 1));
  refuse(MILL_E_ARG, {"sizes has 2", "1 spatial axis"}, pool(f.tensor({1, 2, 3}), 2));
  refuse(MILL_E_ARG, {"sizes[1] is 0"}, pool(f.tensor({1, 2, 3, 4}), 2));
}

TEST_F(BadCompose, ViewsAndParts) {
  mill_tensor* const x = f.tensor({2, 1, 3});
  const auto axes_of = [&](auto function, std::vector<int64_t> axes) {
    return [=, this](mill_tensor** out) {
      return function(f.exec(), x, axes.data(), static_cast<uint32_t>(axes.size()), out, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"squeeze", "axis 2", "[2, 1, 3]"}, axes_of(mill_squeeze, {1, -1}));
  refuse(MILL_E_ARG, {"squeeze", "axes is 3", "rank 3"}, axes_of(mill_squeeze, {3}));
  refuse(MILL_E_ARG, {"squeeze", "axis 1 twice"}, axes_of(mill_squeeze, {1, -2}));
  refuse(MILL_E_ARG, {"unsqueeze", "n_axes is 0"}, axes_of(mill_unsqueeze, {}));
  refuse(MILL_E_SHAPE, {"unsqueeze", "n_axes is 6", "rank 3", "8"},
         axes_of(mill_unsqueeze, {0, 1, 2, 3, 4, 5}));
  refuse(MILL_E_ARG, {"axes is NULL", "2"},
         [&](auto out) { return mill_squeeze(f.exec(), x, nullptr, 2, out, f.err()); });
  refuse(MILL_E_ARG, {"flatten", "last is axis 0", "first, axis 2"},
         [&](auto out) { return mill_flatten(f.exec(), x, 2, 0, out, f.err()); });
  refuse(MILL_E_ARG, {"transpose", "axis_b is 3"},
         [&](auto out) { return mill_transpose(f.exec(), x, 0, 3, out, f.err()); });
  const auto split = [&](std::vector<int64_t> sizes, int64_t axis) {
    return [=, this](mill_tensor** out) {
      mill_tensor* outs[3] = {};
      const mill_status status = mill_split(
          f.exec(), x, sizes.data(), static_cast<uint32_t>(sizes.size()), axis, outs, f.err());
      for (mill_tensor* part : outs) EXPECT_EQ(part, nullptr);
      EXPECT_EQ(*out, nullptr);
      return status;
    };
  };
  refuse(MILL_E_ARG, {"split", "sum of sizes is 2", "axis 2", "3"}, split({1, 1}, 2));
  refuse(MILL_E_ARG, {"split", "sizes[1] is 3", "2 are left"}, split({1, 3}, 2));
  refuse(MILL_E_ARG, {"split", "sizes[0] is -1"}, split({-1, 4}, 2));
  refuse(MILL_E_ARG, {"split", "n_sizes is 0"}, split({}, 2));
  const auto stack = [&](std::vector<mill_tensor*> inputs, int64_t axis) {
    return [=, this](mill_tensor** out) {
      return mill_stack(f.exec(), inputs.data(), static_cast<uint32_t>(inputs.size()), axis, out,
                        f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"stack", "inputs[1] is [3]", "[2, 1, 3]"}, stack({x, f.tensor({3})}, 0));
  refuse(MILL_E_ARG, {"stack", "axis is 4"}, stack({x, x}, 4));
  refuse(MILL_E_ARG, {"stack", "n_inputs is 0"}, stack({}, 0));
  refuse(MILL_E_SHAPE, {"rank 8"}, [&](auto out) {
    mill_tensor* const deep = f.tensor({1, 1, 1, 1, 1, 1, 1, 1});
    return mill_stack(f.exec(), &deep, 1, 0, out, f.err());
  });
}

TEST_F(BadCompose, Arithmetic) {
  mill_tensor* const x = f.tensor({2, 3});
  refuse(MILL_E_DTYPE, {"masked_fill", "mask is f32", "bool"},
         [&](auto out) { return mill_masked_fill(f.exec(), x, x, 0, out, f.err()); });
  refuse(MILL_E_SHAPE, {"mask is [2]", "[2, 3]"}, [&](auto out) {
    return mill_masked_fill(f.exec(), x, f.tensor({2}, MILL_BOOL), 0, out, f.err());
  });
  refuse(MILL_E_DTYPE, {"var", "x is i64"},
         [&](auto out) { return mill_var(f.exec(), f.ids({2}), nullptr, 0, 1, 0, out, f.err()); });
  refuse(MILL_E_ARG, {"var", "correction is inf"},
         [&](auto out) { return mill_var(f.exec(), x, nullptr, 0, HUGE_VAL, 0, out, f.err()); });
  refuse(MILL_E_ARG, {"vector_norm", "p is NaN"}, [&](auto out) {
    return mill_vector_norm(f.exec(), x, std::nan(""), nullptr, 0, 0, out, f.err());
  });
  refuse(MILL_E_ARG, {"axes", "2"}, [&](auto out) {
    const int64_t axis = 2;
    return mill_logsumexp(f.exec(), x, &axis, 1, 0, out, f.err());
  });
}

TEST_F(BadCompose, PartsOfNetworks) {
  mill_tensor* const table = f.tensor({4, 3});
  const auto bag = [&](mill_tensor* weight, mill_tensor* ids, mill_tensor* offsets,
                       mill_tensor* scale, int64_t mode = 0) {
    return [=, this](mill_tensor** out) {
      return mill_embedding_bag(f.exec(), weight, ids, offsets, scale, mode, out, f.err());
    };
  };
  mill_tensor* const ids = f.ids({5});
  mill_tensor* const begin = f.ids({1}, 0);
  refuse(MILL_E_SHAPE, {"weight is [5]"}, bag(f.tensor({5}), ids, begin, nullptr));
  refuse(MILL_E_SHAPE, {"ids is [2, 2]"}, bag(table, f.ids({2, 2}), begin, nullptr));
  refuse(MILL_E_DTYPE, {"offsets is f32"}, bag(table, ids, f.tensor({1}), nullptr));
  refuse(MILL_E_SHAPE, {"scale is [4]", "[5]"}, bag(table, ids, begin, f.tensor({4})));
  refuse(MILL_E_SHAPE, {"offsets is [0]", "[5]"}, bag(table, ids, f.ids({0}), nullptr));
  refuse(MILL_E_ARG, {"mode is 2"}, bag(table, ids, begin, nullptr, 2));
  refuse(MILL_E_INDEX, {"4"}, bag(table, f.ids({5}, 4), begin, nullptr));
  refuse(MILL_E_INDEX, {"6"}, bag(table, ids, f.ids({1}, 6), nullptr));
  refuse(MILL_E_ARG, {"drop_path", "p is 1.5"},
         [&](auto out) { return mill_drop_path(f.exec(), table, 1.5, out, f.err()); });
  refuse(MILL_E_STATE, {"generator"},
         [&](auto out) { return mill_drop_path(f.exec(), table, 0.5, out, f.err()); });
  refuse(MILL_E_ARG, {"alibi_bias", "heads is 0"},
         [&](auto out) { return mill_alibi_bias(f.exec(), 0, 2, 2, MILL_F32, out, f.err()); });
  refuse(MILL_E_SHAPE, {"-2"},
         [&](auto out) { return mill_alibi_bias(f.exec(), 2, -2, 2, MILL_F32, out, f.err()); });
  refuse(MILL_E_DTYPE, {"dtype is i64"},
         [&](auto out) { return mill_alibi_bias(f.exec(), 2, 2, 2, MILL_I64, out, f.err()); });
  refuse(MILL_E_DTYPE, {"scaled_matmul", "a is i64"}, [&](auto out) {
    return mill_scaled_matmul(f.exec(), ids, table, nullptr, nullptr, MILL_F32, out, f.err());
  });
  refuse(MILL_E_SHAPE, {"scale_b is [4]"}, [&](auto out) {
    return mill_scaled_matmul(f.exec(), f.tensor({2, 4}), table, nullptr, f.tensor({4}), MILL_F32,
                              out, f.err());
  });
  const auto loss = [&](mill_tensor* x, mill_tensor* weight, mill_tensor* bias, mill_tensor* labels,
                        int64_t reduction = 0, int64_t rows = 1) {
    return [=, this](mill_tensor** out) {
      return mill_linear_cross_entropy(f.exec(), x, weight, bias, labels, reduction, 0, -100, rows,
                                       out, f.err());
    };
  };
  mill_tensor* const x = f.tensor({2, 3});
  mill_tensor* const labels = f.ids({2});
  refuse(MILL_E_SHAPE, {"labels is [3]", "x is [2, 3]"}, loss(x, table, nullptr, f.ids({3})));
  refuse(MILL_E_SHAPE, {"weight is [3]"}, loss(x, f.tensor({3}), nullptr, labels));
  refuse(MILL_E_SHAPE, {"[4, 2]"}, loss(x, f.tensor({4, 2}), nullptr, labels));
  refuse(MILL_E_SHAPE, {"bias", "[3]"}, loss(x, table, f.tensor({3}), labels));
  refuse(MILL_E_ARG, {"reduction is 3"}, loss(x, table, nullptr, labels, 3));
  refuse(MILL_E_ARG, {"rows is -1"}, loss(x, table, nullptr, labels, 0, -1));
  refuse(MILL_E_INDEX, {"4"}, loss(x, table, nullptr, f.ids({2}, 4)));
}

}  // namespace
}  // namespace mill_test
