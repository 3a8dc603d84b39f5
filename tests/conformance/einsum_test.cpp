// Einstein's summation against loops over all letters, on the device under test. Operands are small
// whole numbers, so every order of summing gives the same bits.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "conformance/problem.h"

namespace mill_test {
namespace {

class Einsum : public testing::Test {
 protected:
  Tensor run(const std::string& equation, const std::vector<mill_tensor*>& in) {
    Tensor out;
    w_.ok(mill_einsum(w_.exec(), equation.data(), equation.size(), in.data(),
                      static_cast<uint32_t>(in.size()), out.out(), w_.error()));
    return out;
  }

  // terms and result as the loops take them: without dots, which stand for letters of their own.
  template <class T>
  void check(const std::string& equation, const std::vector<std::string>& terms,
             const std::string& result, const std::vector<Dims>& dims) {
    SCOPED_TRACE(equation);
    std::vector<Tensor> in;
    std::vector<mill_tensor*> handles;
    std::vector<std::vector<T>> values;
    std::map<char, int64_t> size;
    for (size_t k = 0; k < terms.size(); ++k) {
      std::vector<T> v(static_cast<size_t>(count_of(dims[k])));
      for (size_t i = 0; i < v.size(); ++i)
        v[i] = static_cast<T>(static_cast<int64_t>((i * 7 + k * 3) % 5) - 2);
      in.push_back(make<T>(w_, dims[k], v));
      handles.push_back(in.back().get());
      values.push_back(std::move(v));
      for (size_t i = 0; i < terms[k].size(); ++i)
        size[terms[k][i]] = std::max(size[terms[k][i]], dims[k][i]);
    }
    Dims wanted;
    for (const char c : result) wanted.push_back(size[c]);
    std::vector<T> sums(static_cast<size_t>(count_of(wanted)), T(0));
    int64_t total = 1;
    for (const auto& [c, n] : size) total *= n;
    for (int64_t all = 0; all < total; ++all) {
      std::map<char, int64_t> at;
      int64_t rest = all;
      for (const auto& [c, n] : size) {
        at[c] = rest % n;
        rest /= n;
      }
      T product(1);
      for (size_t k = 0; k < terms.size(); ++k) {
        int64_t index = 0;
        for (size_t i = 0; i < terms[k].size(); ++i)
          index = index * dims[k][i] + (dims[k][i] == 1 ? 0 : at[terms[k][i]]);
        product = static_cast<T>(product * values[k][static_cast<size_t>(index)]);
      }
      int64_t to = 0;
      for (const char c : result) to = to * size[c] + at[c];
      sums[static_cast<size_t>(to)] = static_cast<T>(sums[static_cast<size_t>(to)] + product);
    }
    const Tensor out = run(equation, handles);
    EXPECT_EQ(dims_of(out.get()), wanted);
    EXPECT_EQ(values_of<T>(w_, out.get()), sums);
  }

  World& w_ = world();
};

TEST_F(Einsum, Products) {
  check<float>("ij,jk->ik", {"ij", "jk"}, "ik", {{2, 3}, {3, 4}});
  check<float>("ij, kj", {"ij", "kj"}, "ik", {{2, 3}, {4, 3}});
  check<float>("bij,bjk->bik", {"bij", "bjk"}, "bik", {{2, 3, 4}, {2, 4, 2}});
  check<float>("bhqd,bkhd->bhqk", {"bhqd", "bkhd"}, "bhqk", {{2, 2, 3, 4}, {2, 5, 2, 4}});
  check<float>("i,j->ji", {"i", "j"}, "ji", {{3}, {2}});
  check<float>("i,i->", {"i", "i"}, "", {{5}, {5}});
  check<float>("ij,j,jk,ki->i", {"ij", "j", "jk", "ki"}, "i", {{2, 3}, {3}, {3, 4}, {4, 2}});
  check<float>(",ij->ji", {"", "ij"}, "ji", {{}, {2, 3}});
  check<int32_t>("ij,jk->ik", {"ij", "jk"}, "ik", {{2, 3}, {3, 4}});
  check<int64_t>("bi,bj->ij", {"bi", "bj"}, "ij", {{3, 2}, {3, 4}});
}

TEST_F(Einsum, OneInput) {
  check<float>("ij->ji", {"ij"}, "ji", {{2, 3}});
  check<float>("ba", {"ba"}, "ab", {{2, 3}});
  check<float>("aB", {"aB"}, "Ba", {{2, 3}});
  check<float>("ij->", {"ij"}, "", {{2, 3}});
  check<float>("iji->ji", {"iji"}, "ji", {{3, 2, 3}});
  check<float>("iii->i", {"iii"}, "i", {{3, 3, 3}});
  check<float>("ii", {"ii"}, "", {{3, 3}});
}

TEST_F(Einsum, DotsAndSizesOfOne) {
  check<float>("...ij,...jk", {"xij", "xjk"}, "xik", {{2, 2, 3}, {2, 3, 2}});
  check<float>("...ij,jk->...ik", {"xyij", "jk"}, "xyik", {{2, 1, 2, 3}, {3, 2}});
  check<float>("i...,i...->...", {"ixy", "iy"}, "xy", {{3, 2, 4}, {3, 4}});
  check<float>("...i->i", {"xi"}, "i", {{4, 3}});
  check<float>("ij,jk->ik", {"ij", "jk"}, "ik", {{2, 1}, {3, 4}});
  check<float>("bi,bj->bij", {"bi", "bj"}, "bij", {{1, 2}, {3, 4}});
  check<float>("ij,ij->ij", {"ij", "ij"}, "ij", {{1, 1}, {1, 1}});
  check<float>("ij,jk->ik", {"ij", "jk"}, "ik", {{2, 0}, {0, 3}});
}

TEST_F(Einsum, IsRecordedAndWritesIntoATensor) {
  Tape tape;
  w_.ok(mill_tape_create(w_.context(), tape.out(), w_.error()));
  const Tensor a = make<float>(w_, {2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor b = make<float>(w_, {3, 2}, {1, 0, 2, 1, 0, 3});
  w_.ok(mill_tape_watch(tape.get(), a.get(), w_.error()));
  mill_tensor* const in[] = {a.get(), b.get()};
  w_.ok(mill_exec_set_tape(w_.exec(), tape.get(), w_.error()));
  Tensor loss;
  w_.ok(mill_einsum(w_.exec(), "ij,jk->", MILL_NTS, in, 2, loss.out(), w_.error()));
  w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
  w_.ok(mill_tape_backward(tape.get(), w_.exec(), loss.get(), nullptr, 0, w_.error()));
  Tensor gradient;
  w_.ok(mill_tape_gradient_of(tape.get(), a.get(), gradient.out(), w_.error()));
  EXPECT_EQ(values_of<float>(w_, gradient.get()), (std::vector<float>{1, 3, 3, 1, 3, 3}));
  const Tensor given = make<float>(w_, {2, 2}, {0, 0, 0, 0});
  mill_tensor* out = given.get();
  w_.ok(mill_einsum(w_.exec(), "ij,jk->ki", MILL_NTS, in, 2, &out, w_.error()));
  EXPECT_EQ(out, given.get());
  EXPECT_EQ(values_of<float>(w_, out), (std::vector<float>{5, 14, 11, 23}));
}

}  // namespace
}  // namespace mill_test
