// Mixed precision as a training uses it: autocast with f32 parameters, 16-bit parameters with
// masters, dynamic loss scaling; on the CPU and on a simulated device, whose results come late.
#include <gtest/gtest.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <memory>

#include "gradient/model.h"

namespace mill_test {
namespace {

using Bytes = std::vector<unsigned char>;

std::unique_ptr<World> world_on(const std::string& device) {
  struct Restore {
    std::string before = test_device();
    ~Restore() { test_device() = before; }
  } restore;
  test_device() = device;
  return std::make_unique<World>();
}

void set_autocast(World& w, mill_dtype dtype) {
  w.ok(mill_exec_set_autocast(w.exec(), dtype, w.error()));
}

Bytes contents(const std::string& path) {
  Bytes bytes(std::filesystem::file_size(path));
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (!file) throw std::runtime_error("cannot read " + path);
  const size_t n = std::fread(bytes.data(), 1, bytes.size(), file);
  std::fclose(file);
  bytes.resize(n);
  return bytes;
}

class TempDir {
 public:
  TempDir() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "millrace-mixed-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("no temporary directory");
    dir_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string path(const char* name) const { return (dir_ / name).string(); }

 private:
  std::filesystem::path dir_;
};

struct Recipe {
  mill_dtype params = MILL_F32;
  mill_dtype autocast = MILL_DTYPE_NONE;
  double scale = 0;
  int64_t interval = 2000;
  double clip = 0;
  bool sgd = false;
};

// A perceptron of one hidden layer that learns to tell three classes apart.
class Perceptron {
 public:
  Perceptron(World& w, const Recipe& s)
      : w_(w),
        p_(w, s.params,
           {{"in.weight", {32, 8}}, {"in.bias", {32}}, {"out.weight", {3, 32}}, {"out.bias", {3}}},
           41),
        s_(s) {
    for (uint32_t k = 0; k < p_.count(); ++k) {
      std::vector<double> start = p_.values(k);
      for (double& x : start) x *= k % 2 == 0 ? 0.4 : 0.1;
      p_.set(k, start);
    }
    if (s.sgd) {
      w.ok(mill_optimizer_create_sgd(w.exec(), p_.get(), 0.2, 0.9, 0, 0, optimizer_.out(),
                                     w.error()));
    } else {
      w.ok(mill_optimizer_create_adamw(w.exec(), p_.get(), 1e-2, 0.9, 0.99, 1e-8, 0.01,
                                       optimizer_.out(), w.error()));
    }
    w.ok(mill_optimizer_set_clip_norm(optimizer_.get(), s.clip, w.error()));
    if (s.scale > 0) set_scale(s.scale);
    constexpr size_t kRows = 48;
    const std::vector<double> values = random_values(7, kRows * 8);
    std::vector<float> x;
    std::vector<int64_t> labels;
    for (size_t r = 0; r < kRows; ++r) {
      double left = 0;
      double right = 0;
      for (size_t k = 0; k < 8; ++k) {
        x.push_back(static_cast<float>(values[r * 8 + k]));
        (k < 4 ? left : right) += values[r * 8 + k];
      }
      labels.push_back(left > right + 0.4 ? 0 : right > left + 0.4 ? 1 : 2);
    }
    x_ = make<float>(w, {kRows, 8}, x);
    labels_ = make<int64_t>(w, {kRows}, labels);
  }

  void set_scale(double scale) {
    w_.ok(mill_optimizer_set_loss_scale(optimizer_.get(), w_.exec(), scale, 2, 0.5, s_.interval,
                                        w_.error()));
  }
  double scale() {
    Tensor scale;
    w_.ok(mill_optimizer_loss_scale(optimizer_.get(), scale.out(), w_.error()));
    return item(w_, scale.get());
  }
  double norm() {
    Tensor norm;
    w_.ok(mill_optimizer_norm(optimizer_.get(), norm.out(), w_.error()));
    return item(w_, norm.get());
  }
  int64_t steps() {
    int64_t n = 0;
    w_.ok(mill_optimizer_steps(optimizer_.get(), &n, w_.error()));
    return n;
  }

  // Forward and backward. `blow` multiplies the loss, so that the gradients overflow.
  double backward(double blow = 1) {
    Recording tape(w_);
    set_autocast(w_, s_.autocast);
    Tensor input;
    w_.ok(mill_cast(w_.exec(), x_.get(), s_.params, input.out(), w_.error()));
    const Tensor hidden = op::gelu(w_, op::linear(w_, input, p_[0], p_[1]));
    const Tensor logits = op::linear(w_, hidden, p_[2], p_[3]);
    EXPECT_EQ(mill_tensor_dtype(logits.get()),
              s_.autocast == MILL_DTYPE_NONE ? s_.params : s_.autocast);
    Tensor loss = op::cross_entropy(w_, logits, labels_);
    EXPECT_EQ(mill_tensor_dtype(loss.get()), MILL_F32);
    const double value = item(w_, loss.get());
    if (blow != 1) {
      Tensor blown;
      w_.ok(mill_affine(w_.exec(), loss.get(), blow, 0, blown.out(), w_.error()));
      loss = std::move(blown);
    }
    Tensor seed;
    if (s_.scale > 0) w_.ok(mill_optimizer_loss_scale(optimizer_.get(), seed.out(), w_.error()));
    w_.ok(mill_tape_backward(tape.get(), w_.exec(), loss.get(), seed.get(), 0, w_.error()));
    set_autocast(w_, MILL_DTYPE_NONE);
    return value;
  }
  void update() { w_.ok(mill_optimizer_step(optimizer_.get(), w_.exec(), w_.error())); }
  double step(double blow = 1) {
    const double loss = backward(blow);
    update();
    return loss;
  }

  // All that a training is: parameters, moments, masters, counters, scale.
  Bytes state(const std::string& path) {
    save(path);
    return contents(path);
  }
  void save(const std::string& path) {
    w_.ok(mill_checkpoint_save(w_.exec(), path.c_str(), MILL_NTS, p_.get(), optimizer_.get(),
                               nullptr, nullptr, w_.error()));
  }
  void load(const std::string& path) {
    w_.ok(mill_checkpoint_load(w_.exec(), path.c_str(), MILL_NTS, p_.get(), optimizer_.get(),
                               nullptr, nullptr, w_.error()));
  }
  Parameters& params() { return p_; }

 private:
  World& w_;
  Parameters p_;
  Recipe s_;
  Optimizer optimizer_;
  Tensor x_;
  Tensor labels_;
};

struct MixedPrecision : testing::TestWithParam<std::string> {
  std::unique_ptr<World> owner = world_on(GetParam());
  World& w = *owner;
  TempDir dir;
};

constexpr int kTraining = 40;

std::vector<double> losses_of(World& w, const Recipe& s) {
  Perceptron model(w, s);
  std::vector<double> out;
  for (int k = 0; k < kTraining; ++k) out.push_back(model.step());
  return out;
}

// Cross-entropy changes by at most twice what the logits change by. They are sums over 32 and 8
// products of factors below 2 that are rounded to 8 (11) bits: errors of some 2^-8 (2^-11) of
// values of about 2, which the trajectory of a convex-like descent keeps in that order.
void expect_close(const std::vector<double>& mixed, const std::vector<double>& full, double bound) {
  for (size_t k = 0; k < full.size(); ++k) EXPECT_NEAR(mixed[k], full[k], bound) << "step " << k;
  EXPECT_LT(full.back(), 0.5 * full.front()) << "the f32 run learns";
}

TEST_P(MixedPrecision, AutocastToBf16TrainsLikeF32) {
  Recipe s;
  const std::vector<double> full = losses_of(w, s);
  s.autocast = MILL_BF16;
  const std::vector<double> mixed = losses_of(w, s);
  expect_close(mixed, full, 0.03);
  EXPECT_NE(mixed, full);
}

TEST_P(MixedPrecision, AutocastToF16WithAScaledLossTrainsLikeF32) {
  Recipe s;
  const std::vector<double> full = losses_of(w, s);
  s.autocast = MILL_F16;
  s.scale = 1024;
  s.interval = 10;
  const std::vector<double> mixed = losses_of(w, s);
  expect_close(mixed, full, 0.004);
  EXPECT_NE(mixed, full);
}

TEST_P(MixedPrecision, ParametersIn16BitsWithMastersTrainLikeF32) {
  Recipe s;
  const std::vector<double> full = losses_of(w, s);
  s.params = MILL_BF16;
  expect_close(losses_of(w, s), full, 0.05);
  s.autocast = MILL_BF16;
  expect_close(losses_of(w, s), full, 0.05);
  s.params = MILL_F16;
  s.autocast = MILL_F16;
  s.scale = 1024;
  expect_close(losses_of(w, s), full, 0.01);
}

TEST_P(MixedPrecision, F32ParametersGetF32GradientsWhereverAutocastBegins) {
  // Forward and backward each with and without; twice, because the second one adds.
  std::vector<double> exact;
  for (const mill_dtype forward : {MILL_DTYPE_NONE, MILL_BF16}) {
    for (const mill_dtype back : {MILL_DTYPE_NONE, MILL_BF16}) {
      Parameters p(w, MILL_F32, {{"weight", {5, 4}}, {"bias", {5}}});
      const Tensor x = make<float>(w, {3, 4}, {1, 2, -1, 0.5f, 0.3f, 1, 2, -2, 0.7f, -0.1f, 1, 1});
      std::vector<double> got;
      for (int pass = 0; pass < 2; ++pass) {
        Recording tape(w);
        set_autocast(w, forward);
        const Tensor y = op::linear(w, x, p[0], p[1]);
        EXPECT_EQ(mill_tensor_dtype(y.get()), forward == MILL_BF16 ? MILL_BF16 : MILL_F32);
        const Tensor loss = op::sum(w, op::mul(w, y, y));
        set_autocast(w, back);
        w.ok(tape.backward(loss));
      }
      set_autocast(w, MILL_DTYPE_NONE);
      for (uint32_t k = 0; k < 2; ++k) {
        Tensor gradient;
        w.ok(mill_group_gradient(p.get(), k, gradient.out(), w.error()));
        EXPECT_EQ(mill_tensor_dtype(gradient.get()), MILL_F32);
        for (const double g : p.gradient(k)) got.push_back(g);
      }
      if (exact.empty()) exact = got;
      double largest = 0;
      for (const double g : exact) largest = std::fmax(largest, std::fabs(g));
      // A few roundings to 8 bits of terms no larger than the largest result.
      for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], exact[i], 0.02 * largest);
    }
  }
}

TEST_P(MixedPrecision, AnOverflowSkipsTheStepAndHalvesTheScale) {
  for (const bool sgd : {false, true}) {
    for (const mill_dtype params : {MILL_F32, MILL_F16}) {
      Recipe s;
      s.params = params;
      s.autocast = MILL_F16;
      s.scale = 2048;
      s.interval = 3;
      s.clip = 1;
      s.sgd = sgd;
      Perceptron hit(w, s);
      Perceptron spared(w, s);
      for (int k = 0; k < 4; ++k) EXPECT_EQ(hit.step(), spared.step());
      const double before = hit.scale();
      const Bytes values = hit.params().bytes(0);
      hit.step(1e30);
      EXPECT_FALSE(std::isfinite(hit.norm()));
      EXPECT_EQ(hit.params().bytes(0), values);
      EXPECT_EQ(hit.steps(), 4);
      EXPECT_EQ(hit.scale(), before / 2);
      // All else is as if there had been no such step, now and later.
      spared.set_scale(before / 2);
      EXPECT_EQ(hit.state(dir.path("a")), spared.state(dir.path("b")));
      for (int k = 0; k < 4; ++k) EXPECT_EQ(hit.step(), spared.step());
      EXPECT_EQ(hit.state(dir.path("a")), spared.state(dir.path("b")));
      EXPECT_EQ(hit.steps(), 8);
    }
  }
}

TEST_P(MixedPrecision, TheScaleGrowsAfterSomeGoodSteps) {
  Recipe s;
  s.scale = 256;
  s.interval = 3;
  Perceptron model(w, s);
  std::vector<double> scales;
  for (int k = 0; k < 7; ++k) {
    model.step(k == 4 ? 1e38 : 1);
    scales.push_back(model.scale());
  }
  // 3 good steps; one, then an overflow, then two.
  EXPECT_EQ(scales, (std::vector<double>{256, 256, 512, 512, 256, 256, 256}));
  model.step();
  EXPECT_EQ(model.scale(), 512);
}

TEST_P(MixedPrecision, AScaledLossChangesNothingButRounding) {
  // Scales are powers of two: the f32 gradients differ by exactly that, only the factor rounds.
  Recipe s;
  s.clip = 0.3;
  Perceptron plain(w, s);
  s.scale = 4096;
  Perceptron scaled(w, s);
  for (int k = 0; k < 5; ++k) {
    EXPECT_NEAR(plain.step(), scaled.step(), 1e-5);
    EXPECT_NEAR(plain.norm(), scaled.norm(), 1e-5 * plain.norm());
  }
}

// The bf16 next to 1 is 1 - 2^-8: a step of 1e-4 alone rounds away.
TEST_P(MixedPrecision, AThousandTinyUpdatesAreNotLost) {
  Parameters p(w, MILL_BF16, {{"x", {3}}});
  p.set(0, {1, 2, -1});
  Optimizer optimizer;
  w.ok(mill_optimizer_create_sgd(w.exec(), p.get(), 1e-4, 0, 0, 0, optimizer.out(), w.error()));
  Tensor alone;
  w.ok(mill_copy(w.exec(), p[0].get(), alone.out(), w.error()));
  const Tensor rate = make<float>(w, {1}, {1e-4f});
  Tensor ones;
  const int64_t n = 3;
  w.ok(mill_fill(w.exec(), &n, 1, MILL_BF16, 1, ones.out(), w.error()));
  for (int k = 0; k < 1000; ++k) {
    {
      Recording tape(w);
      w.ok(tape.backward(op::sum(w, p[0])));
    }
    w.ok(mill_optimizer_step(optimizer.get(), w.exec(), w.error()));
    mill_tensor* out = alone.get();
    mill_tensor* velocity = nullptr;
    w.ok(mill_sgd_step(w.exec(), alone.get(), ones.get(), nullptr, rate.get(), nullptr, 0, 0, 0,
                       &out, &velocity, w.error()));
  }
  const std::vector<double> with = p.values(0);
  EXPECT_NEAR(with[0], 0.9, 0x1p-9);
  EXPECT_NEAR(with[1], 1.9, 0x1p-8);
  EXPECT_NEAR(with[2], -1.1, 0x1p-8);
  EXPECT_EQ(read_host(w, alone.get()).f, (std::vector<double>{1, 2, -1}));
}

TEST_P(MixedPrecision, AMasterFollowsWhatTheProgramWrites) {
  Parameters p(w, MILL_BF16, {{"x", {1}}, {"y", {1}}});
  p.set(0, {1});
  p.set(1, {1});
  Optimizer optimizer;
  w.ok(mill_optimizer_create_sgd(w.exec(), p.get(), 1e-4, 0, 0, 0, optimizer.out(), w.error()));
  const auto steps = [&](int n) {
    for (int k = 0; k < n; ++k) {
      {
        Recording tape(w);
        w.ok(tape.backward(op::sum(w, op::add(w, p[0], p[1]))));
      }
      w.ok(mill_optimizer_step(optimizer.get(), w.exec(), w.error()));
    }
  };
  // Half the way to the next bf16 is 19.5 steps long.
  steps(19);
  EXPECT_EQ(p.values(0)[0], 1);
  p.set(1, {5});
  steps(2);
  EXPECT_EQ(p.values(0)[0], 1 - 0x1p-8) << "its master kept what bf16 cannot hold";
  EXPECT_EQ(p.values(1)[0], 5) << "and the other's began anew";
}

TEST_P(MixedPrecision, ACheckpointContinuesBitForBit) {
  for (const bool sgd : {false, true}) {
    Recipe s;
    s.params = MILL_F16;
    s.autocast = MILL_F16;
    s.scale = 512;
    s.interval = 4;
    s.clip = 0.5;
    s.sgd = sgd;
    Perceptron whole(w, s);
    for (int k = 0; k < 6; ++k) whole.step();
    whole.save(dir.path("stop"));
    const std::unique_ptr<World> other = world_on(GetParam());
    s.scale = 64;
    Perceptron resumed(*other, s);
    for (int k = 0; k < 2; ++k) resumed.step();
    resumed.load(dir.path("stop"));
    EXPECT_EQ(resumed.scale(), 1024);
    for (int k = 0; k < 6; ++k) EXPECT_EQ(whole.step(), resumed.step()) << "step " << k;
    EXPECT_EQ(whole.state(dir.path("a")), resumed.state(dir.path("b")));
    EXPECT_EQ(resumed.scale(), 4096);
  }
}

TEST_P(MixedPrecision, TheScalerBacksOffAndGrowsWithinBounds) {
  const double inf = std::numeric_limits<double>::infinity();
  struct Row {
    double squared, scale;
    int64_t streak;
    double factor, next_scale;
    int64_t next_streak, next_step;
  };
  const Row rows[] = {
      {4, 8, 0, 1.0 / 8, 8, 1, 6},           {4, 8, 4, 1.0 / 8, 16, 0, 6},
      {4, 8, 40, 1.0 / 8, 16, 0, 6},         {0, 8, 1, 1.0 / 8, 8, 2, 6},
      {4, 0x1p24, 4, 0x1p-24, 0x1p24, 0, 6}, {inf, 8, 3, -1, 4, 0, 5},
      {std::nan(""), 8, 3, -1, 4, 0, 5},     {inf, 0x1p-24, 3, -1, 0x1p-24, 0, 5},
  };
  for (const Row& row : rows) {
    const Tensor squared = make<double>(w, {1}, {row.squared});
    const Tensor scale = make<double>(w, {}, {row.scale});
    const Tensor streak = make<int64_t>(w, {1}, {row.streak});
    const Tensor step = make<int64_t>(w, {1}, {5});
    const std::vector<Tensor> out =
        invoke(w, MILL_OP_SCALER_UPDATE, {squared.get(), scale.get(), streak.get(), step.get()},
               {{2, MILL_ATTR_INT, 5, 0, nullptr, 0}}, 5);
    EXPECT_EQ(values_of<double>(w, out[0].get())[0], row.factor);
    const double norm = values_of<double>(w, out[1].get())[0];
    if (std::isfinite(row.squared)) {
      EXPECT_EQ(norm, std::sqrt(row.squared) / row.scale);
    } else {
      EXPECT_FALSE(std::isfinite(norm));
    }
    EXPECT_EQ(values_of<double>(w, out[2].get())[0], row.next_scale);
    EXPECT_EQ(values_of<int64_t>(w, out[3].get())[0], row.next_streak);
    EXPECT_EQ(values_of<int64_t>(w, out[4].get())[0], row.next_step);
  }
}

// Not in place: what was is copied, whatever the gradients hold.
TEST_P(MixedPrecision, ANegativeClipLeavesEverythingAsItIs) {
  constexpr int64_t kN = 3001;
  const auto some = [&](uint64_t seed, mill_dtype dtype, double low) {
    const Tensor wide = f64(w, {kN}, random_values(seed, kN, low, 2));
    Tensor out;
    w.ok(mill_cast(w.exec(), wide.get(), dtype, out.out(), w.error()));
    return out;
  };
  for (const mill_dtype dtype : {MILL_F32, MILL_F64, MILL_BF16, MILL_F16}) {
    const mill_dtype stat = dtype == MILL_F64 ? MILL_F64 : MILL_F32;
    const Tensor param = some(1, dtype, -2);
    Tensor grad;
    w.ok(mill_fill(w.exec(), &kN, 1, dtype, std::numeric_limits<double>::infinity(), grad.out(),
                   w.error()));
    const Tensor first = some(2, stat, -2);
    const Tensor second = some(3, stat, 0.1);
    const Tensor master = some(4, MILL_F32, -2);
    const auto one = [&](double value) {
      Tensor out;
      const int64_t n = 1;
      w.ok(mill_fill(w.exec(), &n, 1, stat, value, out.out(), w.error()));
      return out;
    };
    const Tensor rate = one(0.1);
    const Tensor clip = one(-1);
    const Tensor step = make<int64_t>(w, {1}, {0});
    const auto expect_kept = [&](int32_t op, const std::vector<mill_tensor*>& in,
                                 const std::vector<mill_tensor*>& kept) {
      const std::vector<Tensor> out = invoke(w, op, in, {}, static_cast<uint32_t>(kept.size()));
      for (size_t k = 0; k < kept.size(); ++k)
        EXPECT_EQ(read_bytes(w, out[k].get()), read_bytes(w, kept[k])) << "op " << op << " " << k;
    };
    mill_tensor* const p = param.get();
    mill_tensor* const g = grad.get();
    mill_tensor* const m = first.get();
    mill_tensor* const v = second.get();
    mill_tensor* const f = master.get();
    expect_kept(MILL_OP_SGD_STEP, {p, g, m, rate.get(), clip.get()}, {p, m});
    expect_kept(MILL_OP_ADAMW_STEP, {p, g, m, v, rate.get(), step.get(), clip.get()}, {p, m, v});
    if (dtype != MILL_BF16 && dtype != MILL_F16) continue;
    expect_kept(MILL_OP_SGD_MASTER_STEP, {p, g, m, rate.get(), clip.get(), f}, {p, m, f});
    expect_kept(MILL_OP_ADAMW_MASTER_STEP, {p, g, m, v, rate.get(), step.get(), clip.get(), f},
                {p, m, v, f});
  }
}

// On the CPU, and on the device that MILL_TEST_DEVICE names; without it on a simulated one.
std::string other_device() {
  return test_device() == "cpu" ? "sim:ideal" : test_device();
}

INSTANTIATE_TEST_SUITE_P(On, MixedPrecision, testing::Values(std::string("cpu"), other_device()),
                         [](const auto& device) {
                           std::string name(device.param, 0, device.param.find(':'));
                           name[0] = static_cast<char>(std::toupper(name[0]));
                           return name;
                         });

}  // namespace
}  // namespace mill_test
