// The exported functions of ops.h are the generic call with names: same bits, same ownership.
#include <gtest/gtest.h>

#include "conformance/problem.h"

namespace mill_test {
namespace {

class Flat : public testing::Test {
 protected:
  Tensor drawn(const Dims& dims) {
    std::vector<float> values(static_cast<size_t>(count_of(dims)));
    for (float& v : values) v = static_cast<float>(random_.between(-2, 2));
    return make<float>(w_, dims, values);
  }
  void same(const Tensor& flat, const Tensor& generic) {
    ASSERT_TRUE(flat);
    EXPECT_EQ(dims_of(flat.get()), dims_of(generic.get()));
    EXPECT_EQ(mill_tensor_dtype(flat.get()), mill_tensor_dtype(generic.get()));
    EXPECT_EQ(read_bytes(w_, flat.get()), read_bytes(w_, generic.get()));
  }
  std::vector<Tensor> generic(int32_t op, const std::vector<const Tensor*>& in,
                              const std::vector<mill_attr>& attrs = {}, uint32_t n_out = 1) {
    std::vector<mill_tensor*> raw;
    for (const Tensor* tensor : in) raw.push_back(tensor ? tensor->get() : nullptr);
    return invoke(w_, op, raw, attrs, n_out);
  }

  World& w_ = world();
  Random random_{11};
  Tensor out_;
};

TEST_F(Flat, AddIsOpAdd) {
  const Tensor a = drawn({4, 1, 5});
  const Tensor b = drawn({3, 1});
  w_.ok(mill_add(w_.exec(), a.get(), b.get(), out_.out(), w_.error()));
  same(out_, generic(MILL_OP_ADD, {&a, &b})[0]);
}

TEST_F(Flat, MatmulIsOpMatmul) {
  const Tensor a = drawn({33, 70});
  const Tensor b = drawn({70, 45});
  w_.ok(mill_matmul(w_.exec(), a.get(), b.get(), out_.out(), w_.error()));
  same(out_, generic(MILL_OP_MATMUL, {&a, &b})[0]);
}

TEST_F(Flat, LinearTakesNoBias) {
  const Tensor x = drawn({5, 3});
  const Tensor weight = drawn({4, 3});
  w_.ok(mill_linear(w_.exec(), x.get(), weight.get(), nullptr, out_.out(), w_.error()));
  same(out_, generic(MILL_OP_LINEAR, {&x, &weight, nullptr})[0]);
}

TEST_F(Flat, SumPassesAxesAndKeepdim) {
  const Tensor x = drawn({4, 3, 5});
  const int64_t axes[] = {0, -1};
  w_.ok(mill_sum(w_.exec(), x.get(), axes, 2, 1, out_.out(), w_.error()));
  same(out_,
       generic(MILL_OP_SUM, {&x},
               {{0, MILL_ATTR_INTS, 0, 0, axes, 2}, {1, MILL_ATTR_INT, 1, 0, nullptr, 0}})[0]);
}

TEST_F(Flat, SoftmaxPassesItsAxis) {
  const Tensor x = drawn({4, 3, 5});
  w_.ok(mill_softmax(w_.exec(), x.get(), 1, out_.out(), w_.error()));
  same(out_, generic(MILL_OP_SOFTMAX, {&x}, {{0, MILL_ATTR_INT, 1, 0, nullptr, 0}})[0]);
}

TEST_F(Flat, GeluPassesItsFlag) {
  const Tensor x = drawn({40});
  w_.ok(mill_gelu(w_.exec(), x.get(), 1, out_.out(), w_.error()));
  same(out_, generic(MILL_OP_GELU, {&x}, {{0, MILL_ATTR_INT, 1, 0, nullptr, 0}})[0]);
}

TEST_F(Flat, LayerNormHasThreeOutputs) {
  const Tensor x = drawn({4, 6});
  const Tensor weight = drawn({6});
  Tensor mean;
  Tensor rstd;
  w_.ok(mill_layer_norm(w_.exec(), x.get(), weight.get(), nullptr, 1, 1e-3, out_.out(), mean.out(),
                        rstd.out(), w_.error()));
  const std::vector<Tensor> want = generic(MILL_OP_LAYER_NORM, {&x, &weight, nullptr},
                                           {{1, MILL_ATTR_FLOAT, 0, 1e-3, nullptr, 0}}, 3);
  same(out_, want[0]);
  same(mean, want[1]);
  same(rstd, want[2]);
}

TEST_F(Flat, CrossEntropyPassesAllItsOptions) {
  const Tensor logits = drawn({6, 4});
  const Tensor labels = make<int64_t>(w_, {6}, {0, 1, 2, 3, 2, 1});
  Tensor lse;
  w_.ok(mill_cross_entropy(w_.exec(), logits.get(), labels.get(), MILL_REDUCE_SUM, 0.1, 2,
                           out_.out(), lse.out(), w_.error()));
  const std::vector<Tensor> want = generic(MILL_OP_CROSS_ENTROPY, {&logits, &labels},
                                           {{0, MILL_ATTR_INT, MILL_REDUCE_SUM, 0, nullptr, 0},
                                            {1, MILL_ATTR_FLOAT, 0, 0.1, nullptr, 0},
                                            {2, MILL_ATTR_INT, 2, 0, nullptr, 0}},
                                           2);
  same(out_, want[0]);
  same(lse, want[1]);
}

TEST_F(Flat, ConcatTakesAList) {
  const Tensor a = drawn({2, 3});
  const Tensor b = drawn({2, 1});
  mill_tensor* const list[] = {a.get(), b.get()};
  w_.ok(mill_concat(w_.exec(), list, 2, 1, out_.out(), w_.error()));
  same(out_, generic(MILL_OP_CONCAT, {&a, &b}, {{0, MILL_ATTR_INT, 1, 0, nullptr, 0}})[0]);
}

TEST_F(Flat, UniformWithAKeyDependsOnTheKeyOnly) {
  const Tensor key = make<int64_t>(w_, {2}, {42, 7});
  const int64_t dims[] = {3, 5};
  w_.ok(mill_uniform(w_.exec(), key.get(), dims, 2, MILL_F32, -1, 2, out_.out(), w_.error()));
  same(out_, generic(MILL_OP_UNIFORM, {&key},
                     {{0, MILL_ATTR_INTS, 0, 0, dims, 2},
                      {2, MILL_ATTR_FLOAT, 0, -1, nullptr, 0},
                      {3, MILL_ATTR_FLOAT, 0, 2, nullptr, 0}})[0]);
}

TEST_F(Flat, GivenOutputIsWrittenAndKeepsItsReference) {
  const Tensor a = drawn({3});
  const Tensor given = drawn({3});
  mill_tensor* out = given.get();
  w_.ok(mill_neg(w_.exec(), a.get(), &out, w_.error()));
  EXPECT_EQ(out, given.get());
  same(given, generic(MILL_OP_NEG, {&a})[0]);
}

TEST_F(Flat, RandomOpsWithoutKeyDrawFromTheGenerator) {
  Generator generator;
  w_.ok(mill_generator_create(w_.exec(), 99, generator.out(), w_.error()));
  w_.ok(mill_exec_set_generator(w_.exec(), generator.get(), w_.error()));
  const int64_t dims[] = {6};
  Tensor second;
  w_.ok(mill_normal(w_.exec(), nullptr, dims, 1, MILL_F64, 0, 1, out_.out(), w_.error()));
  w_.ok(mill_normal(w_.exec(), nullptr, dims, 1, MILL_F64, 0, 1, second.out(), w_.error()));
  w_.ok(mill_exec_set_generator(w_.exec(), nullptr, w_.error()));
  EXPECT_NE(read_bytes(w_, out_.get()), read_bytes(w_, second.get()));
  for (int64_t call = 0; call < 2; ++call) {
    const Tensor key = make<int64_t>(w_, {2}, {99, call});
    Tensor want;
    w_.ok(mill_normal(w_.exec(), key.get(), dims, 1, MILL_F64, 0, 1, want.out(), w_.error()));
    same(call == 0 ? out_ : second, want);
  }
  uint64_t seed = 0;
  uint64_t calls = 0;
  w_.ok(mill_generator_get_state(generator.get(), &seed, &calls, w_.error()));
  EXPECT_EQ(seed, 99u);
  EXPECT_EQ(calls, 2u);
}

TEST_F(Flat, RandomOpsWithoutKeyAndGeneratorFail) {
  const int64_t dims[] = {6};
  EXPECT_EQ(mill_uniform(w_.exec(), nullptr, dims, 1, MILL_F32, 0, 1, out_.out(), w_.error()),
            MILL_E_STATE);
  EXPECT_FALSE(out_);
}

}  // namespace
}  // namespace mill_test
