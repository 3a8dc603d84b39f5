// Normalisation called wrongly: every refusal names the argument and both values.
#include <limits>

#include "api/refusal.h"

namespace mill_test {
namespace {

using BadNorm = BadInput;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST_F(BadNorm, Batch) {
  mill_tensor* extra[2] = {};
  const auto norm = [&](mill_tensor* x, mill_tensor* weight, double eps, auto out) {
    return mill_batch_norm(f.exec(), x, weight, nullptr, eps, out, &extra[0], &extra[1], f.err());
  };
  mill_tensor* const x = f.tensor({2, 3, 4});
  refuse(MILL_E_SHAPE, {"batch_norm", "x is [3]", "channels"},
         [&](auto out) { return norm(f.tensor({3}), nullptr, 0, out); });
  refuse(MILL_E_SHAPE, {"batch_norm", "weight", "[4]", "[3]"},
         [&](auto out) { return norm(x, f.tensor({4}), 0, out); });
  refuse(MILL_E_SHAPE, {"batch_norm", "x is [0, 3, 4]", "channel"}, [&](auto out) {
    return norm(f.tensor({0, 3, 4}), nullptr, 0, out);
  });
  for (const double eps : {-1.0, kNaN}) {
    refuse(MILL_E_ARG, {"batch_norm", "eps"}, [&](auto out) { return norm(x, nullptr, eps, out); });
  }
  refuse(MILL_E_SHAPE, {"batch_norm_apply", "variance", "[2]", "[3]"}, [&](auto out) {
    return mill_batch_norm_apply(f.exec(), x, f.tensor({3}), f.tensor({2}), nullptr, nullptr, 0,
                                 out, f.err());
  });
  refuse(MILL_E_SHAPE, {"batch_norm_backward", "[2, 3, 5]", "[2, 3, 4]"}, [&](auto out) {
    return mill_batch_norm_backward(f.exec(), f.tensor({2, 3, 5}), x, nullptr, f.tensor({3}),
                                    f.tensor({3}), 0, out, &extra[0], &extra[1], f.err());
  });
  EXPECT_EQ(extra[0], nullptr);
  EXPECT_EQ(extra[1], nullptr);
}

TEST_F(BadNorm, Group) {
  mill_tensor* extra[2] = {};
  const auto norm = [&](mill_tensor* x, mill_tensor* bias, int64_t groups, auto out) {
    return mill_group_norm(f.exec(), x, nullptr, bias, groups, 0, out, &extra[0], &extra[1],
                           f.err());
  };
  mill_tensor* const x = f.tensor({2, 6, 4});
  for (const int64_t groups : {0, 4, -2, 12}) {
    refuse(MILL_E_ARG, {"group_norm", "groups", "6"},
           [&](auto out) { return norm(x, nullptr, groups, out); });
  }
  refuse(MILL_E_SHAPE, {"group_norm", "bias", "[2]", "[6]"},
         [&](auto out) { return norm(x, f.tensor({2}), 2, out); });
  refuse(MILL_E_SHAPE, {"group_norm", "[2, 6, 0]", "group"}, [&](auto out) {
    return norm(f.tensor({2, 6, 0}), nullptr, 2, out);
  });
  refuse(MILL_E_SHAPE, {"group_norm_backward", "mean", "[2, 3]", "[2, 2]"}, [&](auto out) {
    return mill_group_norm_backward(f.exec(), x, x, nullptr, f.tensor({2, 3}), f.tensor({2, 2}), 2,
                                    out, &extra[0], &extra[1], f.err());
  });
  EXPECT_EQ(extra[0], nullptr);
  EXPECT_EQ(extra[1], nullptr);
}

TEST_F(BadNorm, Rms) {
  mill_tensor* rstd = nullptr;
  mill_tensor* const x = f.tensor({2, 3});
  const auto norm = [&](mill_tensor* weight, int64_t axes, double eps, auto out) {
    return mill_rms_norm(f.exec(), x, weight, axes, eps, out, &rstd, f.err());
  };
  refuse(MILL_E_SHAPE, {"rms_norm", "weight", "[2]", "[3]"},
         [&](auto out) { return norm(f.tensor({2}), 1, 0, out); });
  refuse(MILL_E_ARG, {"rms_norm", "axes", "3"}, [&](auto out) { return norm(nullptr, 3, 0, out); });
  refuse(MILL_E_ARG, {"rms_norm", "eps"}, [&](auto out) { return norm(nullptr, 1, -1, out); });
  EXPECT_EQ(rstd, nullptr);
}

TEST_F(BadNorm, RunningStatistics) {
  mill_tensor* more = nullptr;
  const auto update = [&](mill_tensor* variance, double momentum, int64_t count, auto out) {
    mill_tensor* const c = f.tensor({3});
    return mill_running_update(f.exec(), c, variance, c, c, momentum, count, out, &more, f.err());
  };
  refuse(MILL_E_SHAPE, {"running_update", "running_variance", "[2]", "[3]"},
         [&](auto out) { return update(f.tensor({2}), 0.1, 0, out); });
  for (const double momentum : {-0.1, 1.5, kNaN}) {
    refuse(MILL_E_ARG, {"running_update", "momentum"},
           [&](auto out) { return update(f.tensor({3}), momentum, 0, out); });
  }
  for (const int64_t count : {1, -4}) {
    refuse(MILL_E_ARG, {"running_update", "count"},
           [&](auto out) { return update(f.tensor({3}), 0.1, count, out); });
  }
  EXPECT_EQ(more, nullptr);
}

}  // namespace
}  // namespace mill_test
