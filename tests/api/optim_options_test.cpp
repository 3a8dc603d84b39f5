// What optimizers are asked for beside their rule: what they refuse, checkpoints in the middle of a
// run, averages, options of single parameters, clipping by value, scaled gradients. On the CPU and
// on a simulated device.
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <set>

#include "api/refusal.h"
#include "millrace/millrace.hpp"

namespace mill_test {
namespace {

namespace mr = millrace;

using BadUpdate = BadInput;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// ---- refusals -----------------------------------------------------------------------------------

TEST_F(BadUpdate, HyperparametersThatAreNoneMakeNoOptimizer) {
  mill_group* const group = f.built_group();
  mill_exec* const x = f.exec();
  mill_error* const e = f.err();
  struct Adam {
    double rate, beta1, beta2, eps, decay;
    uint64_t flags;
    const char* word;
  };
  for (const Adam& a :
       {Adam{kNaN, .9, .99, 1e-8, 0, 0, "rate"}, Adam{-1, .9, .99, 1e-8, 0, 0, "rate is -1"},
        Adam{1e300, .9, .99, 1e-8, 0, 0, "f32"}, Adam{.1, 1, .99, 1e-8, 0, 0, "beta1 is 1"},
        Adam{.1, -.5, .99, 1e-8, 0, 0, "beta1"}, Adam{.1, .9, 1.5, 1e-8, 0, 0, "beta2 is 1.5"},
        Adam{.1, .9, kNaN, 1e-8, 0, 0, "beta2"}, Adam{.1, .9, .99, 0, 0, 0, "eps is 0"},
        Adam{.1, .9, .99, -1, 0, 0, "eps"}, Adam{.1, .9, .99, 1e-60, 0, 0, "eps is 1e-60"},
        Adam{.1, .9, .99, 1e-8, -1, 0, "weight_decay is -1"},
        Adam{.1, .9, .99, 1e-8, kInf, 0, "weight_decay"},
        Adam{.1, .9, .99, 1e-8, 0, 4, "flags is 4"}}) {
    refuse(MILL_E_ARG, {"mill_optimizer_create_adam", a.word}, [&](auto) {
      mill_optimizer* out = nullptr;
      const mill_status status = mill_optimizer_create_adam(x, group, a.rate, a.beta1, a.beta2,
                                                            a.eps, a.decay, a.flags, &out, e);
      EXPECT_EQ(out, nullptr);
      return status;
    });
  }
  struct RmsProp {
    double rate, alpha, eps, momentum, decay;
    const char* word;
  };
  for (const RmsProp& r :
       {RmsProp{kInf, .99, 1e-8, 0, 0, "rate"}, RmsProp{.1, 1, 1e-8, 0, 0, "alpha is 1"},
        RmsProp{.1, kNaN, 1e-8, 0, 0, "alpha"}, RmsProp{.1, .99, 0, 0, 0, "eps is 0"},
        RmsProp{.1, .99, kInf, 0, 0, "eps"}, RmsProp{.1, .99, 1e-8, 1, 0, "momentum is 1"},
        RmsProp{.1, .99, 1e-8, -.1, 0, "momentum"},
        RmsProp{.1, .99, 1e-8, 0, -2, "weight_decay is -2"}}) {
    refuse(MILL_E_ARG, {"mill_optimizer_create_rmsprop", r.word}, [&](auto) {
      mill_optimizer* out = nullptr;
      return mill_optimizer_create_rmsprop(x, group, r.rate, r.alpha, r.eps, r.momentum, r.decay, 1,
                                           &out, e);
    });
  }
  struct Adagrad {
    double rate, rate_decay, initial, eps, decay;
    const char* word;
  };
  for (const Adagrad& a :
       {Adagrad{-1, 0, 0, 1e-10, 0, "rate is -1"}, Adagrad{.1, -1, 0, 1e-10, 0, "rate_decay is -1"},
        Adagrad{.1, kNaN, 0, 1e-10, 0, "rate_decay"}, Adagrad{.1, 0, -1, 1e-10, 0, "initial is -1"},
        Adagrad{.1, 0, 1e200, 1e-10, 0, "initial"}, Adagrad{.1, 0, 0, 0, 0, "eps is 0"},
        Adagrad{.1, 0, 0, 1e-10, kNaN, "weight_decay"}}) {
    refuse(MILL_E_ARG, {"mill_optimizer_create_adagrad", a.word}, [&](auto) {
      mill_optimizer* out = nullptr;
      return mill_optimizer_create_adagrad(x, group, a.rate, a.rate_decay, a.initial, a.eps,
                                           a.decay, &out, e);
    });
  }
  struct Lion {
    double rate, beta1, beta2, decay;
    const char* word;
  };
  for (const Lion& a :
       {Lion{kNaN, .9, .99, 0, "rate"}, Lion{.1, 1, .99, 0, "beta1 is 1"},
        Lion{.1, .9, -1, 0, "beta2 is -1"}, Lion{.1, .9, .99, -1, "weight_decay is -1"}}) {
    refuse(MILL_E_ARG, {"mill_optimizer_create_lion", a.word}, [&](auto) {
      mill_optimizer* out = nullptr;
      return mill_optimizer_create_lion(x, group, a.rate, a.beta1, a.beta2, a.decay, &out, e);
    });
  }
  refuse(MILL_E_STATE, {"not built"}, [&](auto) {
    mill_optimizer* out = nullptr;
    return mill_optimizer_create_lion(x, f.made<mill_group>(), .1, .9, .99, 0, &out, e);
  });
  refuse(MILL_E_DEVICE, {}, [&](auto) {
    mill_optimizer* out = nullptr;
    return mill_optimizer_create_adagrad(other.exec(), group, .1, 0, 0, 1e-10, 0, &out, e);
  });
}

TEST_F(BadUpdate, SettingsOutOfRangeChangeNothing) {
  mill_exec* const x = f.exec();
  mill_error* const e = f.err();
  mill_optimizer* const o = f.made<mill_optimizer>();
  struct Schedule {
    int32_t shape;
    int64_t warmup, total;
    double floor, start;
    int64_t period;
    double factor;
    const char* word;
  };
  for (const Schedule& s :
       {Schedule{-1, 0, 0, 0, 0, 1, 1, "shape is -1"}, Schedule{9, 0, 0, 0, 0, 1, 1, "shape is 9"},
        Schedule{0, -1, 0, 0, 0, 1, 1, "warmup is -1"},
        Schedule{0, 0, -1, 0, 0, 1, 1, "total is -1"},
        Schedule{MILL_SCHEDULE_COSINE, 5, 5, 0, 0, 1, 1, "total is 5"},
        Schedule{MILL_SCHEDULE_LINEAR, 5, 4, 0, 0, 1, 1, "warmup 5"},
        Schedule{MILL_SCHEDULE_POLYNOMIAL, 0, 0, 0, 0, 1, 2, "total is 0"},
        Schedule{MILL_SCHEDULE_ONE_CYCLE, 9, 9, 0, 0, 1, 1, "total is 9"},
        Schedule{0, 0, 0, 1.5, 0, 1, 1, "floor is 1.5"}, Schedule{0, 0, 0, kNaN, 0, 1, 1, "floor"},
        Schedule{0, 0, 0, 0, -.5, 1, 1, "start is -0.5"}, Schedule{0, 0, 0, 0, kNaN, 1, 1, "start"},
        Schedule{0, 0, 0, 0, 0, 0, 1, "period is 0"}, Schedule{0, 0, 0, 0, 0, 1, 0, "factor is 0"},
        Schedule{0, 0, 0, 0, 0, 1, kInf, "factor"},
        Schedule{MILL_SCHEDULE_RESTARTS, 0, 0, 0, 0, 3, 1.5, "factor is 1.5"},
        Schedule{MILL_SCHEDULE_RESTARTS, 0, 0, 0, 0, 3, 0.5, "factor is 0.5"}}) {
    refuse(MILL_E_ARG, {"mill_optimizer_set_schedule_shape", s.word}, [&](auto) {
      return mill_optimizer_set_schedule_shape(o, s.shape, s.warmup, s.total, s.floor, s.start,
                                               s.period, s.factor, e);
    });
  }
  const auto refused = [&](mill_status want, const char* word, auto&& call) {
    refuse(want, {word}, [&](auto) { return call(); });
  };
  for (const double bad : {-1.0, kNaN, kInf, 1e300})
    refused(MILL_E_ARG, "limit", [&] { return mill_optimizer_set_clip_value(o, bad, e); });
  for (const double bad : {0.0, -1.0, kNaN, kInf, 0x1p25, 0x1p-25})
    refused(MILL_E_ARG, "scale", [&] { return mill_optimizer_set_gradient_scale(o, bad, e); });
  for (const double bad : {-0.1, 1.1, kNaN})
    refused(MILL_E_ARG, "dampening", [&] { return mill_optimizer_set_dampening(o, bad, e); });
  refused(MILL_E_STATE, "SGD", [&] { return mill_optimizer_set_dampening(o, 0.5, e); });
  EXPECT_EQ(mill_optimizer_set_dampening(o, 0, e), MILL_OK);
  for (const double momentum : {0.0, 0.9}) {
    mill_optimizer** const sgd = f.slot<mill_optimizer>();
    ASSERT_EQ(mill_optimizer_create_sgd(x, f.built_group(), .1, momentum, 0, momentum > 0, sgd, e),
              MILL_OK);
    refused(MILL_E_STATE, momentum > 0 ? "nesterov" : "momentum",
            [&] { return mill_optimizer_set_dampening(*sgd, 0.5, e); });
  }
  refused(MILL_E_ARG, "index is 7",
          [&] { return mill_optimizer_set_param_options(o, x, 7, 1, 0, e); });
  for (const double bad : {-1.0, kNaN, kInf, 1e300}) {
    refused(MILL_E_ARG, "rate_factor",
            [&] { return mill_optimizer_set_param_options(o, x, 0, bad, 0, e); });
  }
  for (const double bad : {-1.0, kNaN, kInf}) {
    refused(MILL_E_ARG, "weight_decay",
            [&] { return mill_optimizer_set_param_options(o, x, 0, 1, bad, e); });
  }
  refused(MILL_E_DEVICE, "",
          [&] { return mill_optimizer_set_param_options(o, other.exec(), 0, 1, 0, e); });
  for (const double bad : {-0.1, 1.0, kNaN})
    refused(MILL_E_ARG, "decay", [&] { return mill_optimizer_set_ema(o, x, bad, 0, e); });
  refused(MILL_E_DEVICE, "", [&] { return mill_optimizer_set_ema(o, other.exec(), 0.9, 0, e); });
  refused(MILL_E_STATE, "averages", [&] { return mill_optimizer_swap_ema(o, x, e); });
  mill_tensor* none = nullptr;
  refused(MILL_E_STATE, "averages", [&] { return mill_optimizer_ema(o, 0, &none, e); });
  ASSERT_EQ(mill_optimizer_set_ema(o, x, 0.9, 0, e), MILL_OK);
  refused(MILL_E_ARG, "index is 9", [&] { return mill_optimizer_ema(o, 9, &none, e); });
  refused(MILL_E_DEVICE, "", [&] { return mill_optimizer_swap_ema(o, other.exec(), e); });
  EXPECT_EQ(none, nullptr);
}

TEST_F(BadUpdate, TheOpsRefuseWhatTheOptimizersDo) {
  mill_tensor* const p = f.tensor({4});
  mill_tensor* const one = f.stat();
  mill_tensor* const step = f.tensor({1}, MILL_I64, 1);
  mill_exec* const x = f.exec();
  mill_error* const e = f.err();
  refuse(MILL_E_SHAPE, {"adam_step"}, [&](mill_tensor** out) {
    mill_tensor *m = nullptr, *v = nullptr, *most = nullptr, *master = nullptr;
    return mill_adam_step(x, p, p, f.tensor({3}), p, nullptr, one, step, nullptr, nullptr, .9, .99,
                          1e-8, 0, 0, out, &m, &v, &most, &master, e);
  });
  refuse(MILL_E_ARG, {"rmsprop_step", "velocity"}, [&](mill_tensor** out) {
    mill_tensor *square = nullptr, *mean = nullptr, *velocity = nullptr, *master = nullptr;
    return mill_rmsprop_step(x, p, p, p, nullptr, nullptr, one, nullptr, nullptr, .99, 1e-8, 0.5, 0,
                             out, &square, &mean, &velocity, &master, e);
  });
  refuse(MILL_E_ARG, {"momentum_step", "dampening is 0.5", "nesterov"}, [&](mill_tensor** out) {
    mill_tensor *velocity = nullptr, *master = nullptr;
    return mill_momentum_step(x, p, p, p, one, step, nullptr, nullptr, .9, .5, 0, 1, out, &velocity,
                              &master, e);
  });
  refuse(MILL_E_ARG, {"lion_step", "beta2 is 1"}, [&](mill_tensor** out) {
    mill_tensor *m = nullptr, *master = nullptr;
    return mill_lion_step(x, p, p, p, one, nullptr, nullptr, .9, 1, 0, out, &m, &master, e);
  });
  refuse(MILL_E_ARG, {"adagrad_step", "rate_decay is -1"}, [&](mill_tensor** out) {
    mill_tensor *sum = nullptr, *master = nullptr;
    return mill_adagrad_step(x, p, p, p, one, step, nullptr, nullptr, -1, 1e-10, 0, out, &sum,
                             &master, e);
  });
  refuse(MILL_E_ARG, {"clamp_gradient", "limit is 0"},
         [&](mill_tensor** out) { return mill_clamp_gradient(x, p, nullptr, 0, out, e); });
  refuse(MILL_E_ARG, {"average_step", "decay is 2"}, [&](mill_tensor** out) {
    return mill_average_step(x, p, p, step, nullptr, 2, 0, out, e);
  });
  refuse(MILL_E_ARG, {"rate_schedule", "shape is 9"}, [&](mill_tensor** out) {
    return mill_rate_schedule(x, step, one, 9, 0, 0, 0, 0, 1, 1, out, e);
  });
  refuse(MILL_E_ARG, {"rate_schedule", "period is 0"}, [&](mill_tensor** out) {
    return mill_rate_schedule(x, step, one, 4, 0, 0, 0, 0, 0, 1, out, e);
  });
}

// ---- a training to look at ----------------------------------------------------------------------

using Bytes = std::vector<unsigned char>;

enum class Rule { sgd, dampened, adamw, adam, amsgrad, rmsprop, centered, adagrad, lion };
constexpr Rule kRules[] = {Rule::sgd,     Rule::dampened, Rule::adamw,   Rule::adam, Rule::amsgrad,
                           Rule::rmsprop, Rule::centered, Rule::adagrad, Rule::lion};

Bytes bytes_of(const mr::Exec& x, const mr::Tensor& tensor) {
  const auto bytes = static_cast<uint64_t>(mill_tensor_count(tensor.get())) *
                     mill_dtype_size(mill_tensor_dtype(tensor.get()));
  Bytes out(bytes);
  mr::detail::check([&](mill_error* e) {
    return mill_tensor_read(x.get(), tensor.get(), out.data(), out.size(), e);
  });
  return out;
}

// Three parameters of one dtype, whose loss is sum of (p - aim)^2 for aims that change in each
// step.
class Training {
 public:
  Training(const std::string& device, mill_dtype dtype, Rule rule) : dtype_(dtype) {
    uint32_t index = 0;
    if (device != "cpu") {
      mr::detail::check([&](mill_error* e) {
        return mill_device_open(context.get(), device.c_str(), MILL_NTS, &index, e);
      });
    }
    x = mr::Exec::create(context, index);
    group = mr::Group::create(context, dtype);
    group.add("weight", {9, 5});
    group.add("bias", {9});
    group.add("scale", {1});
    group.build(x);
    for (uint32_t k = 0; k < 3; ++k) {
      group.init(x, k, MILL_INIT_CONSTANT, 0.25 * (k + 1));
      params.push_back(group.param(k));
    }
    tape = mr::Tape::create(context);
    optimizer = made(rule);
  }

  // Gradients: 2 (p - aim) each, times seed.
  void backward(double aim, const mr::Tensor& seed = {}) {
    mr::Tensor loss;
    {
      const mr::Recording recording(x, tape);
      for (const mr::Tensor& p : params) {
        const mr::Tensor off = mr::sub(x, p, mr::fill(x, {1}, aim, dtype_));
        mr::Tensor part = mr::sum(x, mr::mul(x, off, off));
        loss = loss ? mr::add(x, loss, part) : std::move(part);
      }
      if (dtype_ != MILL_F64) loss = mr::cast(x, loss, MILL_F32);
    }
    mr::detail::check([&](mill_error* e) {
      return mill_tape_backward(tape.get(), x.get(), loss.get(), seed.get(), 0, e);
    });
  }
  void step(int64_t t) {
    backward(std::sin(static_cast<double>(3 * t)));
    optimizer.step(x);
  }
  std::vector<Bytes> values() const {
    std::vector<Bytes> out;
    for (const mr::Tensor& p : params) out.push_back(bytes_of(x, p));
    return out;
  }
  std::vector<Bytes> averages() const {
    std::vector<Bytes> out;
    for (uint32_t k = 0; k < 3; ++k) out.push_back(bytes_of(x, optimizer.ema(k)));
    return out;
  }

  mr::Context context = mr::Context::create();
  mr::Exec x;
  mr::Group group;
  std::vector<mr::Tensor> params;
  mr::Tape tape;
  mr::Optimizer optimizer;

 private:
  mr::Optimizer made(Rule rule) const {
    switch (rule) {
      case Rule::sgd: return mr::Optimizer::sgd(x, group, 0.05, 0.9, 0.01, true);
      case Rule::dampened: {
        mr::Optimizer out = mr::Optimizer::sgd(x, group, 0.05, 0.9, 0.01);
        out.set_dampening(0.5);
        return out;
      }
      case Rule::adamw: return mr::Optimizer::adamw(x, group, 0.01);
      case Rule::adam: return mr::Optimizer::adam(x, group, 0.01, 0.9, 0.99, 1e-8, 0.02);
      case Rule::amsgrad:
        return mr::Optimizer::adam(x, group, 0.01, 0.9, 0.9, 1e-8, 0.02,
                                   uint64_t{MILL_ADAM_AMSGRAD} | uint64_t{MILL_ADAM_DECOUPLED});
      case Rule::rmsprop: return mr::Optimizer::rmsprop(x, group, 0.01);
      case Rule::centered:
        return mr::Optimizer::rmsprop(x, group, 0.003, 0.9, 1e-8, 0.8, 0.01, true);
      case Rule::adagrad: return mr::Optimizer::adagrad(x, group, 0.1, 0.01, 0.1);
      default: return mr::Optimizer::lion(x, group, 0.003, 0.9, 0.99, 0.1);
    }
  }
  mill_dtype dtype_;
};

struct Place {
  const char* device;
  mill_dtype dtype;
};

class Updates : public testing::TestWithParam<Place> {
 protected:
  std::unique_ptr<Training> training(Rule rule) const {
    return std::make_unique<Training>(GetParam().device, GetParam().dtype, rule);
  }
  static std::string path() { return testing::TempDir() + "mill_updates.safetensors"; }
};

TEST_P(Updates, ACheckpointInTheMiddleGoesOnBitForBit) {
  for (const Rule rule : kRules) {
    const auto whole = training(rule);
    const auto again = training(rule);
    for (Training* one : {whole.get(), again.get()}) {
      one->optimizer.set_schedule(MILL_SCHEDULE_RESTARTS, 3, 0, 0.1, 0, 4, 2);
      one->optimizer.set_clip_value(1.5);
      one->optimizer.set_clip_norm(4);
      one->optimizer.set_ema(one->x, 0.9, true);
      one->optimizer.set_param_options(one->x, 1, 2, 0);
    }
    for (int64_t t = 0; t < 11; ++t) whole->step(t);
    mr::save_checkpoint(whole->x, path(), whole->group, whole->optimizer);
    again->step(0);
    mr::load_checkpoint(again->x, path(), again->group, again->optimizer);
    for (int64_t t = 11; t < 25; ++t) {
      whole->step(t);
      again->step(t);
      ASSERT_EQ(again->values(), whole->values()) << "rule " << static_cast<int>(rule);
      ASSERT_EQ(again->averages(), whole->averages()) << "rule " << static_cast<int>(rule);
    }
    EXPECT_EQ(again->optimizer.steps(), 25);
  }
  std::remove(path().c_str());
}

TEST_P(Updates, StatesHaveTheirNamesInACheckpoint) {
  const bool master = GetParam().dtype == MILL_F16 || GetParam().dtype == MILL_BF16;
  const std::vector<std::pair<Rule, std::set<std::string>>> wanted = {
      {Rule::dampened, {"velocity"}},
      {Rule::adam, {"m", "v"}},
      {Rule::amsgrad, {"m", "v", "v_max"}},
      {Rule::rmsprop, {"square"}},
      {Rule::centered, {"square", "mean", "velocity"}},
      {Rule::adagrad, {"sum"}},
      {Rule::lion, {"m"}}};
  for (const auto& [rule, names] : wanted) {
    const auto run = training(rule);
    run->optimizer.set_ema(run->x, 0.9);
    mr::save_checkpoint(run->x, path(), run->group, run->optimizer);
    std::set<std::string> all = names;
    all.insert("ema");
    if (master) all.insert("master");
    std::set<std::string> found;
    const std::string prefix = "optim.weight.";
    for (const std::string& name : mr::File::open(run->context, path()).names()) {
      if (name.rfind(prefix, 0) == 0) found.insert(name.substr(prefix.size()));
    }
    EXPECT_EQ(found, all);
  }
  std::remove(path().c_str());
}

TEST_P(Updates, AveragesChangePlacesWithTheWeightsAndBack) {
  for (const Rule rule : kRules) {
    const auto run = training(rule);
    const auto plain = training(rule);
    for (Training* one : {run.get(), plain.get()}) one->optimizer.set_ema(one->x, 0.8);
    for (int64_t t = 0; t < 6; ++t) {
      run->step(t);
      plain->step(t);
    }
    const auto weights = run->values();
    const auto averages = run->averages();
    EXPECT_NE(weights, averages);
    run->optimizer.swap_ema(run->x);
    EXPECT_NE(run->values(), weights);
    // What is swapped in is the average, rounded to the parameters' dtype.
    for (uint32_t k = 0; k < 3; ++k) {
      const mr::Tensor average = mr::cast(plain->x, plain->optimizer.ema(k), GetParam().dtype);
      EXPECT_EQ(bytes_of(run->x, run->params[k]), bytes_of(plain->x, average));
    }
    run->backward(0.5);
    EXPECT_THROW(run->optimizer.step(run->x), mr::Error);
    EXPECT_THROW(run->optimizer.set_ema(run->x, 0.5), mr::Error);
    EXPECT_THROW(mr::save_checkpoint(run->x, path(), run->group, run->optimizer), mr::Error);
    EXPECT_EQ(run->optimizer.steps(), 6);
    run->group.clear_gradients();
    run->optimizer.swap_ema(run->x);
    EXPECT_EQ(run->values(), weights);
    EXPECT_EQ(run->averages(), averages);
    for (int64_t t = 6; t < 12; ++t) {
      run->step(t);
      plain->step(t);
    }
    EXPECT_EQ(run->values(), plain->values());
    EXPECT_EQ(run->averages(), plain->averages());
  }
}

// An average that forgets at once is the weights: with 16-bit parameters their masters.
TEST_P(Updates, ParametersAreTheirWeightsRounded) {
  for (const Rule rule : kRules) {
    const auto run = training(rule);
    run->optimizer.set_ema(run->x, 1e-30);
    for (int64_t t = 0; t < 20; ++t) run->step(t);
    bool finer = false;
    for (uint32_t k = 0; k < 3; ++k) {
      const mr::Tensor weights = run->optimizer.ema(k);
      EXPECT_EQ(bytes_of(run->x, mr::cast(run->x, weights, GetParam().dtype)),
                bytes_of(run->x, run->params[k]))
          << "rule " << static_cast<int>(rule);
      const auto exact = mr::cast(run->x, weights, MILL_F64).read<double>(run->x);
      const auto rounded = mr::cast(run->x, run->params[k], MILL_F64).read<double>(run->x);
      finer = finer || exact != rounded;
    }
    EXPECT_EQ(finer, GetParam().dtype == MILL_F16 || GetParam().dtype == MILL_BF16);
  }
}

TEST_P(Updates, AnOverflowIsSkippedByEveryRule) {
  for (const Rule rule : kRules) {
    const auto run = training(rule);
    run->optimizer.set_loss_scale(run->x, 1024);
    run->optimizer.set_clip_value(0.5);
    run->optimizer.set_ema(run->x, 0.5);
    for (int64_t t = 0; t < 3; ++t) {
      run->backward(std::sin(static_cast<double>(t)), run->optimizer.loss_scale());
      run->optimizer.step(run->x);
    }
    const auto weights = run->values();
    const auto averages = run->averages();
    run->backward(kInf, run->optimizer.loss_scale());
    run->optimizer.step(run->x);
    EXPECT_EQ(run->values(), weights) << "rule " << static_cast<int>(rule);
    EXPECT_EQ(run->averages(), averages);
    EXPECT_EQ(run->optimizer.steps(), 3);
    EXPECT_EQ(run->optimizer.loss_scale().item(run->x), 512);
    run->backward(0.1, run->optimizer.loss_scale());
    run->optimizer.step(run->x);
    EXPECT_NE(run->values(), weights);
  }
}

TEST_P(Updates, TheMeanOfSeveralBackwardsIsOneOverTheirNumber) {
  for (const Rule rule : kRules) {
    const auto once = training(rule);
    const auto four = training(rule);
    four->optimizer.set_gradient_scale(0.25);
    for (int64_t t = 0; t < 5; ++t) {
      // Equal gradients, and sums of powers of two of them: no rounding tells them apart.
      once->backward(2);
      once->optimizer.step(once->x);
      for (int b = 0; b < 4; ++b) four->backward(2);
      four->optimizer.step(four->x);
    }
    const auto want = once->values();
    if (GetParam().dtype == MILL_F32 || GetParam().dtype == MILL_F64) {
      for (uint32_t k = 0; k < 3; ++k) {
        const auto a = mr::cast(once->x, once->params[k], MILL_F64).read<double>(once->x);
        const auto b = mr::cast(four->x, four->params[k], MILL_F64).read<double>(four->x);
        for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5 * std::fabs(a[i]));
      }
    } else {
      EXPECT_EQ(four->values(), want);
    }
  }
}

// ---- options of single parameters ---------------------------------------------------------------

uint64_t calls_of(const mr::Context& context, int32_t op) {
  for (const mill_trace_op_row& row : context.op_stats()) {
    if (row.op == op) return row.calls;
  }
  return 0;
}

TEST_P(Updates, EqualOptionsBesideOneAnotherAreOneCall) {
  const auto run = training(Rule::adam);
  const auto calls = [&](int64_t t) {
    run->context.trace(MILL_TRACE_OP_STATS);
    const uint64_t before = calls_of(run->context, MILL_OP_ADAM_STEP);
    run->step(t);
    run->context.trace(0);
    return calls_of(run->context, MILL_OP_ADAM_STEP) - before;
  };
  EXPECT_EQ(calls(0), 1u);
  run->optimizer.set_param_options(run->x, 1, 1, 0);
  run->optimizer.set_param_options(run->x, 2, 1, 0);
  EXPECT_EQ(calls(1), 2u);
  run->optimizer.set_param_options(run->x, 2, 0.5, 0);
  EXPECT_EQ(calls(2), 3u);
  for (uint32_t k = 0; k < 3; ++k) run->optimizer.set_param_options(run->x, k, 0.5, 0.1);
  EXPECT_EQ(calls(3), 1u);
}

TEST_P(Updates, AFactorOfZeroHoldsAParameterStill) {
  for (const Rule rule : kRules) {
    const auto run = training(rule);
    run->optimizer.set_param_options(run->x, 1, 0, 0.5);
    const auto before = run->values();
    for (int64_t t = 0; t < 4; ++t) run->step(t);
    const auto after = run->values();
    EXPECT_NE(after[0], before[0]);
    EXPECT_EQ(after[1], before[1]) << "rule " << static_cast<int>(rule);
    EXPECT_NE(after[2], before[2]);
  }
}

// ---- clipping by value --------------------------------------------------------------------------

TEST_P(Updates, ValuesAreClippedBeforeTheNormIsTaken) {
  Training run(GetParam().device, GetParam().dtype, Rule::lion);
  run.optimizer.set_clip_value(0.25);
  run.optimizer.set_clip_norm(1000);
  run.backward(-100);
  run.optimizer.step(run.x);
  mill_tensor* norm = nullptr;
  ASSERT_EQ(mill_optimizer_norm(run.optimizer.get(), &norm, nullptr), MILL_OK);
  // 55 elements, each at the limit.
  EXPECT_NEAR(mr::Tensor::adopt(norm).item(run.x), 0.25 * std::sqrt(55.0), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(On, Updates,
                         testing::Values(Place{"cpu", MILL_F64}, Place{"cpu", MILL_F32},
                                         Place{"cpu", MILL_BF16}, Place{"cpu", MILL_F16},
                                         Place{"sim", MILL_F64}, Place{"sim", MILL_F32},
                                         Place{"sim", MILL_BF16}, Place{"sim", MILL_F16}),
                         [](const testing::TestParamInfo<Place>& one) {
                           return std::string(one.param.device) + "_" +
                                  mill_dtype_name(one.param.dtype);
                         });

}  // namespace
}  // namespace mill_test
