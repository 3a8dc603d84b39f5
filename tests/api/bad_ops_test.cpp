// Ops called wrongly, through their flat functions and through the generic one.
#include <cmath>
#include <limits>

#include "api/refusal.h"

namespace mill_test {
namespace {

using BadOps = BadInput;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

mill_attr int_attr(int32_t id, int64_t value) {
  mill_attr out{};
  out.id = id;
  out.kind = MILL_ATTR_INT;
  out.i = value;
  return out;
}

TEST_F(BadOps, AttentionOfShapesThatDoNotFit) {
  mill_tensor* const q = f.tensor({2, 4, 3, 8});
  mill_tensor* lse = nullptr;
  const auto attend = [&](mill_tensor* k, mill_tensor* v, mill_tensor* mask, mill_tensor* bias,
                          mill_tensor* lengths, auto out) {
    return mill_attention(f.exec(), q, k, v, mask, bias, lengths, 0, 0, 0, out, &lse, f.err());
  };
  mill_tensor* const k = f.tensor({2, 2, 5, 8});
  const auto expect = [&](std::initializer_list<const char*> words, mill_tensor* keys,
                          mill_tensor* values, mill_tensor* mask, mill_tensor* bias,
                          mill_tensor* lengths) {
    refuse(MILL_E_SHAPE, words,
           [&](auto out) { return attend(keys, values, mask, bias, lengths, out); });
    EXPECT_EQ(lse, nullptr);
  };
  expect({"attention", "k is [2, 5, 8]", "4"}, f.tensor({2, 5, 8}), k, nullptr, nullptr, nullptr);
  expect({"attention", "widths", "7", "8"}, f.tensor({2, 2, 5, 7}), k, nullptr, nullptr, nullptr);
  expect({"attention", "batches", "1", "2"}, f.tensor({1, 2, 5, 8}), k, nullptr, nullptr, nullptr);
  expect({"attention", "4 heads", "3"}, f.tensor({2, 3, 5, 8}), f.tensor({2, 3, 5, 8}), nullptr,
         nullptr, nullptr);
  expect({"attention", "numbers of keys", "6", "5"}, k, f.tensor({2, 2, 6, 8}), nullptr, nullptr,
         nullptr);
  expect({"attention", "mask", "[4, 5]", "[2, 4, 3, 5]"}, k, k, f.tensor({4, 5}, MILL_BOOL, 1),
         nullptr, nullptr);
  expect({"attention", "bias", "[2, 2, 3, 5]", "[2, 4, 3, 5]"}, k, k, nullptr,
         f.tensor({2, 2, 3, 5}), nullptr);
  expect({"attention", "lengths", "[3]", "[2]"}, k, k, nullptr, nullptr, f.ids({3}));
  refuse(MILL_E_ARG, {"attention", "scale"}, [&](auto out) {
    return mill_attention(f.exec(), q, k, k, nullptr, nullptr, nullptr, 0, 0, kInf, out, &lse,
                          f.err());
  });
  EXPECT_EQ(lse, nullptr);
}

TEST_F(BadOps, WindowsThatDoNotFit) {
  mill_tensor* const x = f.tensor({1, 2, 5, 6});
  const auto pool = [&](std::vector<int64_t> kernel, std::vector<int64_t> stride,
                        std::vector<int64_t> padding, std::vector<int64_t> dilation, auto out) {
    return mill_avg_pool(f.exec(), x, kernel.data(), static_cast<uint32_t>(kernel.size()),
                         stride.data(), static_cast<uint32_t>(stride.size()), padding.data(),
                         static_cast<uint32_t>(padding.size()), dilation.data(),
                         static_cast<uint32_t>(dilation.size()), 0, 0, out, f.err());
  };
  const auto expect = [&](mill_status status, std::initializer_list<const char*> words,
                          const std::vector<int64_t>& kernel, const std::vector<int64_t>& stride,
                          const std::vector<int64_t>& padding,
                          const std::vector<int64_t>& dilation) {
    refuse(status, words, [&](auto out) { return pool(kernel, stride, padding, dilation, out); });
  };
  expect(MILL_E_SHAPE, {"avg_pool", "6", "5"}, {6, 1}, {}, {}, {});
  expect(MILL_E_SHAPE, {"avg_pool", "7", "6"}, {1, 4}, {}, {}, {1, 2});
  expect(MILL_E_ARG, {"avg_pool", "kernel", "3", "2"}, {1, 1, 1}, {}, {}, {});
  expect(MILL_E_ARG, {"avg_pool", "kernel", "no values"}, {}, {}, {}, {});
  expect(MILL_E_ARG, {"avg_pool", "kernel[1]", "0", "1"}, {1, 0}, {}, {}, {});
  expect(MILL_E_ARG, {"avg_pool", "stride[0]", "0", "1"}, {1, 1}, {0, 1}, {}, {});
  expect(MILL_E_ARG, {"avg_pool", "padding", "3 values", "2 or 4"}, {1, 1}, {}, {0, 0, 0}, {});
  expect(MILL_E_ARG, {"avg_pool", "padding[0]", "-1"}, {1, 1}, {}, {-1, 0}, {});
  expect(MILL_E_ARG, {"avg_pool", "dilation[0]", "-2", "1"}, {1, 1}, {}, {}, {-2, 1});
  expect(MILL_E_SHAPE, {"avg_pool", "window 0", "padding alone"}, {2, 1}, {1, 1}, {2, 0}, {});
  refuse(MILL_E_SHAPE, {"avg_pool", "rank 2", "3 to 5"}, [&](auto out) {
    const int64_t one[1] = {1};
    return mill_avg_pool(f.exec(), f.tensor({2, 3}), one, 1, nullptr, 0, nullptr, 0, nullptr, 0, 0,
                         0, out, f.err());
  });
  refuse(MILL_E_SHAPE, {"avg_pool_backward", "g", "3"}, [&](auto out) {
    const int64_t dims[4] = {1, 2, 5, 6};
    const int64_t kernel[2] = {2, 2};
    return mill_avg_pool_backward(f.exec(), f.tensor({1, 2, 3, 3}), dims, 4, kernel, 2, nullptr, 0,
                                  nullptr, 0, nullptr, 0, 0, 0, out, f.err());
  });
}

TEST_F(BadOps, KernelsThatDoNotFit) {
  mill_tensor* const x = f.tensor({1, 4, 5, 6});
  struct Given {
    std::vector<int64_t> stride, padding, dilation;
    int64_t groups = 1;
    mill_tensor* bias = nullptr;
  };
  const auto expect = [&](mill_status status, std::initializer_list<const char*> words,
                          mill_tensor* weight, const Given& g) {
    refuse(status, words, [&](auto out) {
      return mill_conv(f.exec(), x, weight, g.bias, g.stride.data(),
                       static_cast<uint32_t>(g.stride.size()), g.padding.data(),
                       static_cast<uint32_t>(g.padding.size()), g.dilation.data(),
                       static_cast<uint32_t>(g.dilation.size()), g.groups, out, f.err());
    });
  };
  mill_tensor* const w = f.tensor({3, 4, 3, 3});
  expect(MILL_E_SHAPE, {"conv", "axis 0", "kernel", "6", "5"}, f.tensor({3, 4, 6, 1}), {});
  expect(MILL_E_SHAPE, {"conv", "axis 1", "kernel", "7", "6"}, w, {{}, {}, {1, 3}});
  expect(MILL_E_SHAPE, {"conv", "weight", "second size", "4"}, f.tensor({3, 2, 3, 3}), {});
  expect(MILL_E_SHAPE, {"conv", "groups is 3", "4 channels of the input"}, w, {{}, {}, {}, 3});
  expect(MILL_E_SHAPE, {"conv", "groups is 2", "3 channels of the output"}, f.tensor({3, 2, 3, 3}),
         {{}, {}, {}, 2});
  expect(MILL_E_ARG, {"conv", "groups is 0", "1"}, w, {{}, {}, {}, 0});
  expect(MILL_E_SHAPE, {"conv", "weight", "rank", "4"}, f.tensor({3, 4, 3}), {});
  expect(MILL_E_SHAPE, {"conv", "bias", "[4]", "[3]"}, w, {{}, {}, {}, 1, f.tensor({4})});
  expect(MILL_E_ARG, {"conv", "stride", "3 values"}, w, {{1, 1, 1}, {}, {}});
  expect(MILL_E_ARG, {"conv", "stride[0]", "0", "1"}, w, {{0, 1}, {}, {}});
  expect(MILL_E_ARG, {"conv", "padding", "3 values", "2 or 4"}, w, {{}, {0, 0, 0}, {}});
  expect(MILL_E_ARG, {"conv", "padding[1]", "-1"}, w, {{}, {0, -1}, {}});
  expect(MILL_E_ARG, {"conv", "dilation[0]", "0", "1"}, w, {{}, {}, {0, 1}});
  refuse(MILL_E_SHAPE, {"conv", "[2, 3]", "3 to 5"}, [&](auto out) {
    return mill_conv(f.exec(), f.tensor({2, 3}), w, nullptr, nullptr, 0, nullptr, 0, nullptr, 0, 1,
                     out, f.err());
  });
  refuse(MILL_E_ARG, {"conv_transpose", "output_padding[0]", "1", "stride"}, [&](auto out) {
    const int64_t extra[2] = {1, 0};
    return mill_conv_transpose(f.exec(), x, f.tensor({4, 3, 3, 3}), nullptr, nullptr, 0, nullptr, 0,
                               nullptr, 0, 1, extra, 2, out, f.err());
  });
  refuse(MILL_E_SHAPE, {"conv_transpose", "4", "3"}, [&](auto out) {
    return mill_conv_transpose(f.exec(), x, f.tensor({3, 4, 3, 3}), nullptr, nullptr, 0, nullptr, 0,
                               nullptr, 0, 1, nullptr, 0, out, f.err());
  });
  refuse(MILL_E_SHAPE, {"conv_input_gradient", "[1, 4, 5, 6]"}, [&](auto out) {
    const int64_t dims[4] = {1, 4, 9, 6};
    return mill_conv_input_gradient(f.exec(), x, f.tensor({4, 4, 3, 3}), dims, 4, nullptr, 0,
                                    nullptr, 0, nullptr, 0, 1, out, f.err());
  });
}

TEST_F(BadOps, ShapesThatDoNotFit) {
  mill_tensor* const a = f.tensor({2, 3});
  mill_tensor* const b = f.tensor({4, 3});
  refuse(MILL_E_SHAPE, {"add", "[2, 3]", "[4, 3]"},
         [&](auto out) { return mill_add(f.exec(), a, b, out, f.err()); });
  refuse(MILL_E_SHAPE, {"matmul", "[2, 3]", "[4, 3]"},
         [&](auto out) { return mill_matmul(f.exec(), a, b, out, f.err()); });
  refuse(MILL_E_SHAPE, {"matmul"},
         [&](auto out) { return mill_matmul(f.exec(), f.tensor({}), b, out, f.err()); });
  refuse(MILL_E_SHAPE, {"linear", "[2, 3]", "[4, 5]"}, [&](auto out) {
    return mill_linear(f.exec(), a, f.tensor({4, 5}), nullptr, out, f.err());
  });
  refuse(MILL_E_SHAPE, {"linear", "bias", "[3]", "4"},
         [&](auto out) { return mill_linear(f.exec(), a, b, f.tensor({3}), out, f.err()); });
  refuse(MILL_E_SHAPE, {"where"}, [&](auto out) {
    return mill_where(f.exec(), f.tensor({5}, MILL_BOOL, 1), a, a, out, f.err());
  });
  mill_tensor* const pair[] = {a, f.tensor({2, 4})};
  refuse(MILL_E_SHAPE, {"concat", "[2, 3]", "[2, 4]"},
         [&](auto out) { return mill_concat(f.exec(), pair, 2, 0, out, f.err()); });
  refuse(MILL_E_SHAPE, {"embedding", "[3]"}, [&](auto out) {
    return mill_embedding(f.exec(), f.tensor({3}), f.ids({2}), out, f.err());
  });
  mill_tensor* lse = nullptr;
  refuse(MILL_E_SHAPE, {"cross_entropy", "labels", "[3]", "[2]"}, [&](auto out) {
    return mill_cross_entropy(f.exec(), a, f.ids({3}), 0, 0, -100, out, &lse, f.err());
  });
  EXPECT_EQ(lse, nullptr);
  mill_tensor* mean = nullptr;
  mill_tensor* rstd = nullptr;
  refuse(MILL_E_SHAPE, {"layer_norm", "weight", "[4]"}, [&](auto out) {
    return mill_layer_norm(f.exec(), a, f.tensor({4}), nullptr, 1, 1e-5, out, &mean, &rstd,
                           f.err());
  });
  EXPECT_EQ(mean, nullptr);
  EXPECT_EQ(rstd, nullptr);
  refuse(MILL_E_SHAPE, {"max"}, [&](auto out) {
    return mill_max(f.exec(), f.tensor({0, 3}), nullptr, 0, 0, out, f.err());
  });
}

TEST_F(BadOps, DtypesTheyDoNotTake) {
  mill_tensor* const i = f.ids({2, 3});
  mill_tensor* const x = f.tensor({2, 3});
  refuse(MILL_E_DTYPE, {"exp", "x", "i64"},
         [&](auto out) { return mill_exp(f.exec(), i, out, f.err()); });
  refuse(MILL_E_DTYPE, {"matmul", "i64"},
         [&](auto out) { return mill_matmul(f.exec(), i, i, out, f.err()); });
  refuse(MILL_E_DTYPE, {"embedding", "ids", "f32"},
         [&](auto out) { return mill_embedding(f.exec(), x, x, out, f.err()); });
  refuse(MILL_E_DTYPE, {"where", "condition", "f32"},
         [&](auto out) { return mill_where(f.exec(), x, x, x, out, f.err()); });
  refuse(MILL_E_DTYPE, {"neg", "bool"},
         [&](auto out) { return mill_neg(f.exec(), f.tensor({2}, MILL_BOOL, 1), out, f.err()); });
  refuse(MILL_E_DTYPE, {"increment", "f32"},
         [&](auto out) { return mill_increment(f.exec(), x, out, f.err()); });
  mill_tensor* lse = nullptr;
  refuse(MILL_E_DTYPE, {"cross_entropy", "labels", "f32"}, [&](auto out) {
    return mill_cross_entropy(f.exec(), x, f.tensor({2}), 0, 0, -100, out, &lse, f.err());
  });
}

TEST_F(BadOps, TensorsOfAnotherContext) {
  mill_tensor* const here = f.tensor({2, 3});
  mill_tensor* const there = other.tensor({2, 3});
  refuse(MILL_E_DEVICE, {"add", "b", "another context"},
         [&](auto out) { return mill_add(f.exec(), here, there, out, f.err()); });
  EXPECT_EQ(mill_error_argument(f.err()), -1) << "cleared";
  mill_tensor* out = there;
  expect_refused(f, mill_neg(f.exec(), here, &out, f.err()), MILL_E_DEVICE, {"neg", "out"});
  EXPECT_EQ(read_all<float>(other, there), std::vector<float>(6, 0.5f));
  mill_tensor* const list[] = {here, there};
  refuse(MILL_E_DEVICE, {"concat"},
         [&](auto o) { return mill_concat(f.exec(), list, 2, 0, o, f.err()); });
}

TEST_F(BadOps, AxesAndDims) {
  mill_tensor* const x = f.tensor({2, 3});
  const auto reshape = [&](std::vector<int64_t> dims) {
    return [this, x, dims](mill_tensor** out) {
      return mill_reshape(f.exec(), x, dims.data(), static_cast<uint32_t>(dims.size()), out,
                          f.err());
    };
  };
  refuse(MILL_E_ARG, {"softmax", "2"},
         [&](auto out) { return mill_softmax(f.exec(), x, 2, out, f.err()); });
  refuse(MILL_E_ARG, {"softmax", "-3"},
         [&](auto out) { return mill_softmax(f.exec(), x, -3, out, f.err()); });
  refuse(MILL_E_ARG, {"argmax"},
         [&](auto out) { return mill_argmax(f.exec(), x, INT64_MIN, 0, out, f.err()); });
  const int64_t five[] = {5};
  refuse(MILL_E_ARG, {"sum", "5"},
         [&](auto out) { return mill_sum(f.exec(), x, five, 1, 0, out, f.err()); });
  const int64_t twice[] = {1, -1};
  refuse(MILL_E_ARG, {"mean"},
         [&](auto out) { return mill_mean(f.exec(), x, twice, 2, 0, out, f.err()); });
  refuse(MILL_E_ARG, {"permute"},
         [&](auto out) { return mill_permute(f.exec(), x, twice, 2, out, f.err()); });
  refuse(MILL_E_ARG, {"permute"},
         [&](auto out) { return mill_permute(f.exec(), x, five, 1, out, f.err()); });
  refuse(MILL_E_ARG, {"concat"},
         [&](auto out) { return mill_concat(f.exec(), &x, 1, 2, out, f.err()); });
  refuse(MILL_E_SHAPE, {"reshape", "[2, 3]", "[4, 2]"}, reshape({4, 2}));
  refuse(MILL_E_SHAPE, {"reshape"}, reshape({-1, -1}));
  refuse(MILL_E_SHAPE, {"reshape", "-2"}, reshape({-2, 3}));
  refuse(MILL_E_SHAPE, {"reshape"}, reshape({4, -1}));
  refuse(MILL_E_SHAPE, {"reshape"}, reshape({INT64_MAX, INT64_MAX, 4}));
  refuse(MILL_E_SHAPE, {"reshape"}, reshape({0, -1}));
  refuse(MILL_E_SHAPE, {"reshape", "9", "8"}, reshape({1, 1, 1, 1, 1, 1, 1, 2, 3}));
  const int64_t four[] = {2, 4};
  refuse(MILL_E_SHAPE, {"expand", "[2, 3]", "[2, 4]"},
         [&](auto out) { return mill_expand(f.exec(), x, four, 2, out, f.err()); });
  const int64_t huge[] = {INT64_MAX, 2, 3};
  refuse(MILL_E_SHAPE, {"expand"},
         [&](auto out) { return mill_expand(f.exec(), x, huge, 3, out, f.err()); });
  refuse(MILL_E_SHAPE, {"sum_to"},
         [&](auto out) { return mill_sum_to(f.exec(), x, four, 2, out, f.err()); });
  refuse(MILL_E_ARG, {"slice", "step"},
         [&](auto out) { return mill_slice(f.exec(), x, 0, 0, 2, 0, out, f.err()); });
  refuse(MILL_E_ARG, {"slice", "step"},
         [&](auto out) { return mill_slice(f.exec(), x, 0, 0, 2, -1, out, f.err()); });
  refuse(MILL_E_ARG, {"slice", "axis"},
         [&](auto out) { return mill_slice(f.exec(), x, 2, 0, 2, 1, out, f.err()); });
  refuse(MILL_E_SHAPE, {"slice_backward"}, [&](auto out) {
    const int64_t dims[] = {2, 3};
    return mill_slice_backward(f.exec(), x, dims, 2, 1, 2, 1, out, f.err());
  });
  refuse(MILL_E_ARG, {"layer_norm", "axes", "3"}, [&](auto out) {
    mill_tensor* more[2] = {};
    return mill_layer_norm(f.exec(), x, nullptr, nullptr, 3, 1e-5, out, &more[0], &more[1],
                           f.err());
  });
  refuse(MILL_E_ARG, {"layer_norm", "axes", "0"}, [&](auto out) {
    mill_tensor* more[2] = {};
    return mill_layer_norm(f.exec(), x, nullptr, nullptr, 0, 1e-5, out, &more[0], &more[1],
                           f.err());
  });
}

TEST_F(BadOps, SizesThatCannotBe) {
  const auto fill = [&](std::vector<int64_t> dims, mill_dtype dtype = MILL_F32) {
    return [this, dims, dtype](mill_tensor** out) {
      return mill_fill(f.exec(), dims.data(), static_cast<uint32_t>(dims.size()), dtype, 0, out,
                       f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"fill", "-1"}, fill({2, -1}));
  refuse(MILL_E_SHAPE, {"fill"}, fill({INT64_MAX, 2}));
  refuse(MILL_E_SHAPE, {"fill"}, fill({int64_t{1} << 32, int64_t{1} << 32}, MILL_U8));
  refuse(MILL_E_SHAPE, {"fill"}, fill({int64_t{1} << 62}, MILL_C128));
  refuse(MILL_E_SHAPE, {"fill", "9", "8"}, fill({1, 1, 1, 1, 1, 1, 1, 1, 1}));
  refuse(MILL_E_MEMORY, {"fill"}, fill({int64_t{1} << 60}, MILL_U8));
  refuse(MILL_E_ARG, {"fill", "18"}, fill({2}, 18));
  refuse(MILL_E_ARG, {"fill", "-5"}, fill({2}, -5));
  const auto arange = [&](int64_t count) {
    return [this, count](mill_tensor** out) {
      return mill_arange(f.exec(), count, 0, 1, MILL_F32, out, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"arange", "-1"}, arange(-1));
  refuse(MILL_E_SHAPE, {"arange"}, arange(INT64_MAX));
  refuse(MILL_E_ARG, {"cast", "0"},
         [&](auto out) { return mill_cast(f.exec(), f.tensor(), MILL_DTYPE_NONE, out, f.err()); });
  refuse(MILL_E_SHAPE, {"embedding_backward"}, [&](auto out) {
    return mill_embedding_backward(f.exec(), f.tensor({2, 3}), f.ids({2}), -1, out, f.err());
  });
}

TEST_F(BadOps, EnumsFlagsAndNumbersOutOfRange) {
  mill_tensor* const x = f.tensor({2, 3});
  mill_tensor* const labels = f.ids({2});
  mill_tensor* extra[2] = {};
  for (const int64_t relation : {-1, 6}) {
    refuse(MILL_E_ARG, {"compare", "relation"},
           [&](auto out) { return mill_compare(f.exec(), x, x, relation, out, f.err()); });
  }
  for (const int64_t reduction : {-1, 3}) {
    refuse(MILL_E_ARG, {"cross_entropy", "reduction"}, [&](auto out) {
      return mill_cross_entropy(f.exec(), x, labels, reduction, 0, -100, out, &extra[0], f.err());
    });
  }
  for (const double smoothing : {-0.1, 1.5, kNaN}) {
    refuse(MILL_E_ARG, {"cross_entropy", "label_smoothing"}, [&](auto out) {
      return mill_cross_entropy(f.exec(), x, labels, 0, smoothing, -100, out, &extra[0], f.err());
    });
  }
  mill_tensor* const key = f.tensor({2}, MILL_I64, 1);
  for (const double p : {-0.1, 1.5, kNaN}) {
    refuse(MILL_E_ARG, {"dropout", "p is"},
           [&](auto out) { return mill_dropout(f.exec(), x, key, p, out, f.err()); });
  }
  const int64_t dims[] = {2};
  for (const double std : {-1.0, kNaN, kInf}) {
    refuse(MILL_E_ARG, {"normal", "std"}, [&](auto out) {
      return mill_normal(f.exec(), key, dims, 1, MILL_F32, 0, std, out, f.err());
    });
  }
  refuse(MILL_E_ARG, {"uniform", "low", "high"}, [&](auto out) {
    return mill_uniform(f.exec(), key, dims, 1, MILL_F32, 2, 1, out, f.err());
  });
  refuse(MILL_E_ARG, {"uniform", "NaN"}, [&](auto out) {
    return mill_uniform(f.exec(), key, dims, 1, MILL_F32, kNaN, 1, out, f.err());
  });
  for (const double eps : {-1.0, kNaN}) {
    refuse(MILL_E_ARG, {"layer_norm", "eps"}, [&](auto out) {
      return mill_layer_norm(f.exec(), x, nullptr, nullptr, 1, eps, out, &extra[0], &extra[1],
                             f.err());
    });
  }
  refuse(MILL_E_ARG, {"schedule", "shape", "7"}, [&](auto out) {
    return mill_schedule(f.exec(), f.ids({1}), f.stat(), 7, 0, 0, 0, out, f.err());
  });
  for (const double norm : {-1.0, kNaN}) {
    refuse(MILL_E_ARG, {"clip_factor", "max_norm"}, [&](auto out) {
      return mill_clip_factor(f.exec(), f.stat(), norm, out, &extra[0], f.err());
    });
  }
  EXPECT_EQ(extra[0], nullptr);
  EXPECT_EQ(extra[1], nullptr);
}

TEST_F(BadOps, RandomOpsWithoutAKey) {
  const int64_t dims[] = {2};
  refuse(MILL_E_STATE, {"uniform", "generator"}, [&](auto out) {
    return mill_uniform(f.exec(), nullptr, dims, 1, MILL_F32, 0, 1, out, f.err());
  });
  refuse(MILL_E_STATE, {"dropout", "generator"},
         [&](auto out) { return mill_dropout(f.exec(), f.tensor(), nullptr, 0.5, out, f.err()); });
  refuse(MILL_E_SHAPE, {"uniform", "key", "[3]"}, [&](auto out) {
    return mill_uniform(f.exec(), f.ids({3}), dims, 1, MILL_F32, 0, 1, out, f.err());
  });
}

// refuse() compares the generator's state as well.
TEST_F(BadOps, ARefusedRandomOpDrawsNoKey) {
  f.random_exec();
  mill_tensor* const x = f.tensor({2});
  const int64_t dims[] = {2};
  const int64_t negative[] = {-2};
  const int64_t vast[] = {int64_t{1} << 60};
  refuse(MILL_E_ARG, {"dropout", "p is"},
         [&](auto out) { return mill_dropout(f.exec(), x, nullptr, 1.5, out, f.err()); });
  refuse(MILL_E_ARG, {"uniform"}, [&](auto out) {
    return mill_uniform(f.exec(), nullptr, dims, 1, MILL_F32, 1, 0, out, f.err());
  });
  refuse(MILL_E_SHAPE, {"uniform", "-2"}, [&](auto out) {
    return mill_uniform(f.exec(), nullptr, negative, 1, MILL_F32, 0, 1, out, f.err());
  });
  refuse(MILL_E_MEMORY, {"normal"}, [&](auto out) {
    return mill_normal(f.exec(), nullptr, vast, 1, MILL_F32, 0, 1, out, f.err());
  });
  refuse_into<float>(x, MILL_E_SHAPE, {"uniform", "output"}, [&](auto out) {
    const int64_t three[] = {3};
    return mill_uniform(f.exec(), nullptr, three, 1, MILL_F32, 0, 1, out, f.err());
  });
  const std::string before = f.state();
  mill_tensor* out = nullptr;
  ASSERT_EQ(mill_dropout(f.exec(), x, nullptr, 0.5, &out, f.err()), MILL_OK);
  mill_tensor_release(out);
  EXPECT_NE(f.state(), before);
}

TEST_F(BadOps, IndicesOutOfRangeChangeNothing) {
  mill_tensor* const weight = f.tensor({4, 3});
  for (const int64_t id : {int64_t{4}, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    mill_tensor* const ids = upload<int64_t>(f, {3}, {0, id, 1});
    const std::string text = std::to_string(id);
    refuse(MILL_E_INDEX, {"embedding", text.c_str(), "4"},
           [&](auto out) { return mill_embedding(f.exec(), weight, ids, out, f.err()); });
    refuse_into<float>(f.tensor({3, 3}, MILL_F32, 9), MILL_E_INDEX, {"embedding"}, [&](auto out) {
      return mill_embedding(f.exec(), weight, ids, out, f.err());
    });
    refuse_into<float>(
        f.tensor({4, 3}, MILL_F32, 9), MILL_E_INDEX, {"embedding_backward"}, [&](auto out) {
          return mill_embedding_backward(f.exec(), f.tensor({3, 3}), ids, 4, out, f.err());
        });
  }
  mill_tensor* const logits = f.tensor({2, 3});
  mill_tensor* const labels = upload<int64_t>(f, {2}, {0, 3});
  mill_tensor* lse = f.tensor({2}, MILL_F32, 9);
  refuse_into<float>(
      f.tensor({}, MILL_F32, 9), MILL_E_INDEX, {"cross_entropy", "3"}, [&](auto out) {
        return mill_cross_entropy(f.exec(), logits, labels, 0, 0, -100, out, &lse, f.err());
      });
  EXPECT_EQ(read_all<float>(f, lse), std::vector<float>(2, 9.0f));
  refuse_into<float>(f.tensor({2, 3}, MILL_F32, 9), MILL_E_INDEX, {"cross_entropy_backward", "3"},
                     [&](auto out) {
                       return mill_cross_entropy_backward(f.exec(), f.tensor({}), logits, labels,
                                                          f.tensor({2}), 0, 0, -100, out, f.err());
                     });
}

TEST_F(BadOps, IntegerDivisionByZeroChangesNothing) {
  mill_tensor* const a = upload<int64_t>(f, {3}, {6, 7, 8});
  mill_tensor* const b = upload<int64_t>(f, {3}, {2, 0, 4});
  refuse_into<int64_t>(f.ids({3}, 9), MILL_E_ARG, {"div", "zero"},
                       [&](auto out) { return mill_div(f.exec(), a, b, out, f.err()); });
  // In place, too.
  refuse_into<int64_t>(a, MILL_E_ARG, {"div", "zero"},
                       [&](auto out) { return mill_div(f.exec(), a, b, out, f.err()); });
}

// expect_refused sees to it that a sentence names its op once, also where a kernel wrote it.
TEST_F(BadOps, WhatOnlyTheKernelCanRefuse) {
  mill_tensor* const x = f.tensor({2, 3});
  const int64_t dims[] = {2};
  refuse(MILL_E_DTYPE, {"uniform: there are no"}, [&](auto out) {
    return mill_uniform(f.random_exec(), nullptr, dims, 1, MILL_C64, 0, 1, out, f.err());
  });
  refuse(MILL_E_DTYPE, {"normal: there are no"}, [&](auto out) {
    return mill_normal(f.random_exec(), nullptr, dims, 1, MILL_I64, 0, 1, out, f.err());
  });
  refuse(MILL_E_ARG, {"compare: relation is 6"},
         [&](auto out) { return mill_compare(f.exec(), x, x, 6, out, f.err()); });
}

TEST_F(BadOps, OutputsThatDoNotFit) {
  mill_tensor* const x = f.tensor({2, 3});
  refuse_into<float>(f.tensor({3, 2}), MILL_E_SHAPE, {"neg", "out", "[3, 2]", "[2, 3]"},
                     [&](auto out) { return mill_neg(f.exec(), x, out, f.err()); });
  refuse_into<float>(f.tensor({6}), MILL_E_SHAPE, {"neg", "[6]"},
                     [&](auto out) { return mill_neg(f.exec(), x, out, f.err()); });
  refuse_into<double>(f.tensor({2, 3}, MILL_F64), MILL_E_DTYPE, {"neg", "f64", "f32"},
                      [&](auto out) { return mill_neg(f.exec(), x, out, f.err()); });
  mill_tensor* given = f.tensor({6});
  const int64_t six[] = {6};
  expect_refused(f, mill_reshape(f.exec(), x, six, 1, &given, f.err()), MILL_E_ARG,
                 {"reshape", "view"});
}

TEST_F(BadOps, AliasingIsRefusedUnlessTheOpAllowsIt) {
  mill_tensor* const base = upload<float>(f, {12}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  mill_tensor* const a = view(f, base, {2, 2}, {2, 1});
  mill_tensor* const shifted = view(f, base, {2, 2}, {2, 1}, 1);
  mill_tensor* const turned = view(f, base, {2, 2}, {1, 2});
  mill_tensor* const still = view(f, base, {2, 2}, {0, 1});
  mill_tensor* const b = view(f, base, {2, 2}, {2, 1}, 8);
  // Exactly an input, where the row has no in-place pair.
  refuse_into<float>(a, MILL_E_ALIAS, {"matmul", "overlaps", "a"},
                     [&](auto out) { return mill_matmul(f.exec(), a, b, out, f.err()); });
  refuse_into<float>(a, MILL_E_ALIAS, {"copy"},
                     [&](auto out) { return mill_copy(f.exec(), a, out, f.err()); });
  // In part, or turned: not even where exact sharing is allowed.
  refuse_into<float>(shifted, MILL_E_ALIAS, {"add", "partial"},
                     [&](auto out) { return mill_add(f.exec(), a, b, out, f.err()); });
  refuse_into<float>(turned, MILL_E_ALIAS, {"neg"},
                     [&](auto out) { return mill_neg(f.exec(), a, out, f.err()); });
  refuse_into<float>(still, MILL_E_ALIAS, {"add", "each other"},
                     [&](auto out) { return mill_add(f.exec(), b, b, out, f.err()); });
  // Two outputs.
  mill_tensor* both = f.ids({2});
  mill_tensor* again = both;
  expect_refused(f, mill_rng_next(f.exec(), f.ids({2}), &both, &again, f.err()), MILL_E_ALIAS,
                 {"rng_next", "overlap"});
  // What is allowed gives the right numbers.
  mill_tensor* out = a;
  ASSERT_EQ(mill_add(f.exec(), a, b, &out, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(read_all<float>(f, base),
            (std::vector<float>{10, 12, 14, 16, 5, 6, 7, 8, 9, 10, 11, 12}));
  out = a;
  ASSERT_EQ(mill_softmax(f.exec(), a, -1, &out, f.err()), MILL_OK) << f.message();
}

TEST_F(BadOps, GenericCalls) {
  mill_tensor* const x = f.tensor({2, 3});
  mill_tensor* const list[] = {x, x, x};
  const auto invoke = [&](int32_t op, uint32_t n_in, std::vector<mill_attr> attrs,
                          uint32_t n_out = 1) {
    return [this, op, n_in, attrs, n_out, list](mill_tensor** out) {
      mill_tensor* outs[16] = {};
      const mill_status status =
          mill_op_invoke(f.exec(), op, list, n_in, attrs.data(),
                         static_cast<uint32_t>(attrs.size()), outs, n_out, f.err());
      *out = outs[0];
      return status;
    };
  };
  refuse(MILL_E_ARG, {"0", "unknown"}, invoke(0, 1, {}));
  refuse(MILL_E_ARG, {"-7", "unknown"}, invoke(-7, 1, {}));
  refuse(MILL_E_ARG, {"255", "unknown"}, invoke(255, 1, {}));
  refuse(MILL_E_ARG, {"1048576", "unknown"}, invoke(MILL_OP_CUSTOM, 1, {}));
  refuse(MILL_E_ARG, {"unknown"}, invoke(INT32_MAX, 1, {}));
  refuse(MILL_E_ARG, {"add", "3 inputs", "2"}, invoke(MILL_OP_ADD, 3, {}));
  refuse(MILL_E_ARG, {"add", "0 inputs", "2"}, invoke(MILL_OP_ADD, 0, {}));
  refuse(MILL_E_ARG, {"add", "2 outputs", "1"}, invoke(MILL_OP_ADD, 2, {}, 2));
  refuse(MILL_E_ARG, {"add", "0 outputs", "1"}, invoke(MILL_OP_ADD, 2, {}, 0));
  refuse(MILL_E_ARG, {"add", "9", "8"}, invoke(MILL_OP_ADD, 2, {}, 9));
  refuse(MILL_E_ARG, {"concat", "0 inputs"}, invoke(MILL_OP_CONCAT, 0, {}));
  refuse(MILL_E_ARG, {"softmax", "attribute 5 is unknown"},
         invoke(MILL_OP_SOFTMAX, 1, {int_attr(5, 0)}));
  refuse(MILL_E_ARG, {"softmax", "attribute -1 is unknown"},
         invoke(MILL_OP_SOFTMAX, 1, {int_attr(-1, 0)}));
  mill_attr wrong = int_attr(0, 0);
  wrong.kind = MILL_ATTR_FLOAT;
  refuse(MILL_E_ARG, {"softmax", "axis", "kind", "an integer", "a float"},
         invoke(MILL_OP_SOFTMAX, 1, {wrong}));
  refuse(MILL_E_ARG, {"softmax", "axis", "twice"},
         invoke(MILL_OP_SOFTMAX, 1, {int_attr(0, 0), int_attr(0, 1)}));
  wrong.kind = 77;
  refuse(MILL_E_ARG, {"softmax", "axis", "77"}, invoke(MILL_OP_SOFTMAX, 1, {wrong}));
  refuse(MILL_E_ARG, {"cast", "dtype", "missing"}, invoke(MILL_OP_CAST, 1, {}));
  mill_attr axes{};
  axes.id = 0;
  axes.kind = MILL_ATTR_INTS;
  axes.n = 2;
  refuse(MILL_E_ARG, {"sum", "axes", "NULL"}, invoke(MILL_OP_SUM, 1, {axes}));
  const int64_t many[9] = {};
  axes.p = many;
  axes.n = 9;
  refuse(MILL_E_SHAPE, {"sum", "9", "8"}, invoke(MILL_OP_SUM, 1, {axes}));
  refuse(MILL_E_ARG, {"add", "17", "16"}, invoke(MILL_OP_ADD, 2, std::vector<mill_attr>(17)));
  std::vector<mill_tensor*> too_many(65, x);
  refuse(MILL_E_ARG, {"concat", "65", "64"}, [&](auto out) {
    return mill_op_invoke(f.exec(), MILL_OP_CONCAT, too_many.data(), 65, nullptr, 0, out, 1,
                          f.err());
  });
  refuse(MILL_E_ARG, {"concat", "65", "64"},
         [&](auto out) { return mill_concat(f.exec(), too_many.data(), 65, 0, out, f.err()); });
}

TEST_F(BadOps, PreparedCalls) {
  mill_tensor* const in[] = {f.tensor({2, 3}), f.tensor({2, 3})};
  mill_call* call = nullptr;
  mill_attr axes{};
  axes.id = 0;
  axes.kind = MILL_ATTR_INTS;
  axes.n = uint64_t{1} << 60;
  expect_refused(f, mill_op_prepare(f.exec(), MILL_OP_SUM, in, 1, &axes, 1, &call, f.err()),
                 MILL_E_ARG, {"axes"});
  axes.p = &axes;
  expect_refused(f, mill_op_prepare(f.exec(), MILL_OP_SUM, in, 1, &axes, 1, &call, f.err()),
                 MILL_E_SHAPE, {"axes"});
  expect_refused(f, mill_op_prepare(f.exec(), 999999, in, 1, nullptr, 0, &call, f.err()),
                 MILL_E_ARG, {"999999"});
  expect_refused(f, mill_op_prepare(f.exec(), MILL_OP_ADD, in, 1, nullptr, 0, &call, f.err()),
                 MILL_E_ARG, {"1 inputs", "2"});
  EXPECT_EQ(call, nullptr);
  ASSERT_EQ(mill_op_prepare(f.exec(), MILL_OP_ADD, in, 2, nullptr, 0, &call, f.err()), MILL_OK)
      << f.message();
  f.own(call);
  const auto run = [&](mill_tensor* a, mill_tensor* b, uint32_t n = 2) {
    return [this, a, b, n, call](mill_tensor** out) {
      mill_tensor* const with[] = {a, b, a};
      return mill_call_run(call, f.exec(), with, n, out, 1, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"add", "[3, 2]", "[2, 3]"}, run(in[0], f.tensor({3, 2})));
  refuse(MILL_E_DTYPE, {"add", "f64", "f32"}, run(in[0], f.tensor({2, 3}, MILL_F64)));
  refuse(MILL_E_ARG, {"add", "3 inputs"}, run(in[0], in[1], 3));
  refuse(MILL_E_ARG, {"add", "NULL"}, run(in[0], nullptr));
  refuse(MILL_E_DEVICE, {"add"}, run(in[0], other.tensor({2, 3})));
  // Same dims, other strides.
  refuse(MILL_E_SHAPE, {"add", "strides"}, run(in[0], view(f, f.tensor({3, 2}), {2, 3}, {1, 2})));
  mill_tensor* out = nullptr;
  expect_refused(f, mill_call_run(call, other.exec(), in, 2, &out, 1, f.err()), MILL_E_DEVICE,
                 {"context"});
  ASSERT_EQ(mill_call_run(call, f.exec(), in, 2, &out, 1, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(read_all<float>(f, out), std::vector<float>(6, 1.0f));
  mill_tensor_release(out);
}

}  // namespace
}  // namespace mill_test
