// A thousand steps of every optimizer beside an implementation in double, written here from the
// published definitions: PyTorch's documentation of SGD, Adam, AdamW, RMSprop and Adagrad, Chen et
// al. (2023) for Lion, and the papers that mill_optimizer_set_schedule_shape names. It shares
// nothing with the kernels.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "millrace/millrace.hpp"

namespace mill_test {
namespace {

namespace mr = millrace;
using Doubles = std::vector<double>;

constexpr int64_t kSteps = 1001;
constexpr double kTolerance = 1e-12;

enum class Rule { sgd, adamw, adam, rmsprop, adagrad, lion };

struct ParamPlan {
  uint32_t index;
  double rate_factor;
  double decay;
};

struct Plan {
  std::string name;
  Rule rule = Rule::sgd;
  double rate = 0.01;
  double momentum = 0;
  double dampening = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double alpha = 0.99;
  double eps = 1e-8;
  double decay = 0;
  double rate_decay = 0;
  double initial = 0;
  bool nesterov = false;
  bool amsgrad = false;
  bool decoupled = false;
  bool centered = false;
  // Beside the rule.
  double clip_value = 0;
  double clip_norm = 0;
  double gradient_scale = 1;
  int backwards = 1;
  int32_t shape = MILL_SCHEDULE_CONSTANT;
  int64_t warmup = 0;
  int64_t total = 0;
  double floor = 0;
  double start = 0;
  int64_t period = 1;
  double factor = 1;
  double ema = 0;
  bool ema_warm_up = false;
  double loss_scale = 0;
  std::vector<ParamPlan> params;
};

// ---- the definitions ----------------------------------------------------------------------------

double cosine(double from, double to, double share) {
  return to + (from - to) * (1 + std::cos(std::numbers::pi * share)) / 2;
}

double schedule(const Plan& s, int64_t t) {
  const auto real = [](int64_t x) { return static_cast<double>(x); };
  if (t <= s.warmup) {
    if (s.shape == MILL_SCHEDULE_ONE_CYCLE)
      return cosine(s.start, 1, s.warmup == 1 ? 1 : real(t - 1) / real(s.warmup - 1));
    return s.start + (1 - s.start) * real(t) / real(s.warmup);
  }
  const int64_t n = t - s.warmup;
  const double share = std::min(1.0, real(n) / real(std::max<int64_t>(1, s.total - s.warmup)));
  switch (s.shape) {
    case MILL_SCHEDULE_COSINE:
    case MILL_SCHEDULE_ONE_CYCLE: return cosine(1, s.floor, share);
    case MILL_SCHEDULE_LINEAR: return 1 + (s.floor - 1) * share;
    case MILL_SCHEDULE_POLYNOMIAL: return s.floor + (1 - s.floor) * std::pow(1 - share, s.factor);
    case MILL_SCHEDULE_STEPS:
      return std::max(s.floor, std::pow(s.factor, std::floor(real(n) / real(s.period))));
    case MILL_SCHEDULE_EXPONENTIAL:
      return std::max(s.floor, std::pow(s.factor, real(n) / real(s.period)));
    case MILL_SCHEDULE_INVERSE_ROOT:
      return std::max(s.floor, 1 / std::sqrt(real(t) / real(std::max<int64_t>(1, s.warmup))));
    case MILL_SCHEDULE_RESTARTS: {
      int64_t begin = 0;
      int64_t length = s.period;
      while (n >= begin + length) {
        begin += length;
        length *= static_cast<int64_t>(s.factor);
      }
      return cosine(1, s.floor, real(n - begin) / real(length));
    }
    default: return 1;
  }
}

class Reference {
 public:
  Reference(const Plan& plan, std::vector<Doubles> start)
      : s_(plan), p_(std::move(start)), ema_(p_) {
    for (const Doubles& p : p_) {
      first_.emplace_back(p.size(), s_.rule == Rule::adagrad ? s_.initial : 0.0);
      second_.emplace_back(p.size(), 0.0);
      third_.emplace_back(p.size(), 0.0);
    }
  }

  // Gradients as the backwards left them: their sum.
  void step(std::vector<Doubles> g) {
    ++t_;
    rate_ = s_.rate * schedule(s_, t_);
    double squares = 0;
    for (Doubles& one : g) {
      for (double& x : one) {
        x *= s_.gradient_scale;
        if (s_.clip_value > 0) x = std::max(-s_.clip_value, std::min(s_.clip_value, x));
        squares += x * x;
      }
    }
    norm_ = std::sqrt(squares);
    const double scale = s_.clip_norm > 0 ? std::min(1.0, s_.clip_norm / (norm_ + 1e-6)) : 1;
    for (size_t k = 0; k < p_.size(); ++k) {
      double rate = rate_;
      double decay = s_.decay;
      for (const ParamPlan& own : s_.params) {
        if (own.index != k) continue;
        rate *= own.rate_factor;
        decay = own.decay;
      }
      for (size_t i = 0; i < p_[k].size(); ++i) update(k, i, g[k][i] * scale, rate, decay);
    }
    const double t = static_cast<double>(t_);
    const double d = s_.ema_warm_up ? std::min(s_.ema, (1 + t) / (10 + t)) : s_.ema;
    for (size_t k = 0; k < p_.size(); ++k) {
      for (size_t i = 0; i < p_[k].size(); ++i) ema_[k][i] += (1 - d) * (p_[k][i] - ema_[k][i]);
    }
  }

  const Doubles& values(size_t k) const { return p_[k]; }
  const Doubles& ema(size_t k) const { return ema_[k]; }
  double rate() const { return rate_; }
  double norm() const { return norm_; }

 private:
  void update(size_t k, size_t i, double g, double rate, double decay) {
    double& p = p_[k][i];
    double& a = first_[k][i];
    double& b = second_[k][i];
    double& c = third_[k][i];
    const bool outside = s_.rule == Rule::adamw || s_.rule == Rule::lion || s_.decoupled;
    if (outside) {
      p -= rate * decay * p;
    } else {
      g += decay * p;
    }
    switch (s_.rule) {
      case Rule::sgd: sgd(p, a, g, rate); break;
      case Rule::adamw:
      case Rule::adam: adam(p, a, b, c, g, rate); break;
      case Rule::rmsprop: rmsprop(p, a, b, c, g, rate); break;
      case Rule::adagrad:
        a += g * g;
        p -= rate / (1 + static_cast<double>(t_ - 1) * s_.rate_decay) * g / (std::sqrt(a) + s_.eps);
        break;
      case Rule::lion: {
        const double way = s_.beta1 * a + (1 - s_.beta1) * g;
        p -= rate * static_cast<double>((way > 0) - (way < 0));
        a = s_.beta2 * a + (1 - s_.beta2) * g;
        break;
      }
    }
  }
  void sgd(double& p, double& velocity, double g, double rate) const {
    if (s_.momentum == 0) {
      p -= rate * g;
      return;
    }
    velocity = t_ == 1 ? g : s_.momentum * velocity + (1 - s_.dampening) * g;
    p -= rate * (s_.nesterov ? g + s_.momentum * velocity : velocity);
  }
  void adam(double& p, double& m, double& v, double& most, double g, double rate) const {
    m = s_.beta1 * m + (1 - s_.beta1) * g;
    v = s_.beta2 * v + (1 - s_.beta2) * g * g;
    most = std::max(most, v);
    const double m_hat = m / (1 - std::pow(s_.beta1, static_cast<double>(t_)));
    const double v_hat =
        (s_.amsgrad ? most : v) / (1 - std::pow(s_.beta2, static_cast<double>(t_)));
    p -= rate * m_hat / (std::sqrt(v_hat) + s_.eps);
  }
  void rmsprop(double& p, double& square, double& mean, double& velocity, double g,
               double rate) const {
    square = s_.alpha * square + (1 - s_.alpha) * g * g;
    mean += (1 - s_.alpha) * (g - mean);
    const double spread = s_.centered ? square - mean * mean : square;
    const double direction = g / (std::sqrt(spread) + s_.eps);
    velocity = s_.momentum * velocity + direction;
    p -= rate * (s_.momentum > 0 ? velocity : direction);
  }

  Plan s_;
  std::vector<Doubles> p_;
  std::vector<Doubles> ema_;
  std::vector<Doubles> first_;
  std::vector<Doubles> second_;
  std::vector<Doubles> third_;
  int64_t t_ = 0;
  double rate_ = 0;
  double norm_ = 0;
};

// ---- the problem --------------------------------------------------------------------------------

// Bowls of different steepness whose bottoms move about at random: sum of c / 2 (p - aim)^2.
class Problem {
 public:
  static constexpr size_t kParams = 3;

  Problem() {
    for (size_t k = 0; k < kParams; ++k) {
      start_.push_back(random(-1, 1, k));
      steepness_.push_back(random(0.5, 2, k));
    }
  }
  static std::vector<int64_t> dims(size_t k) {
    if (k == 0) return {3, 7};
    return {k == 1 ? int64_t{5} : int64_t{1}};
  }
  static size_t count(size_t k) { return k == 0 ? 21 : k == 1 ? 5 : 1; }

  Doubles aim(size_t k) { return random(-1, 2, k); }
  const Doubles& start(size_t k) const { return start_[k]; }
  const Doubles& steepness(size_t k) const { return steepness_[k]; }

 private:
  Doubles random(double low, double high, size_t k) {
    Doubles out(count(k));
    for (double& x : out) x = low + (high - low) * static_cast<double>(bits_() >> 11) * 0x1p-53;
    return out;
  }
  std::mt19937_64 bits_{20};
  std::vector<Doubles> start_;
  std::vector<Doubles> steepness_;
};

mr::Optimizer made(const mr::Exec& x, const mr::Group& group, const Plan& s) {
  switch (s.rule) {
    case Rule::adamw:
      return mr::Optimizer::adamw(x, group, s.rate, s.beta1, s.beta2, s.eps, s.decay);
    case Rule::adam: {
      uint64_t flags = 0;
      if (s.amsgrad) flags |= MILL_ADAM_AMSGRAD;
      if (s.decoupled) flags |= MILL_ADAM_DECOUPLED;
      return mr::Optimizer::adam(x, group, s.rate, s.beta1, s.beta2, s.eps, s.decay, flags);
    }
    case Rule::rmsprop:
      return mr::Optimizer::rmsprop(x, group, s.rate, s.alpha, s.eps, s.momentum, s.decay,
                                    s.centered);
    case Rule::adagrad:
      return mr::Optimizer::adagrad(x, group, s.rate, s.rate_decay, s.initial, s.eps, s.decay);
    case Rule::lion: return mr::Optimizer::lion(x, group, s.rate, s.beta1, s.beta2, s.decay);
    default: return mr::Optimizer::sgd(x, group, s.rate, s.momentum, s.decay, s.nesterov);
  }
}

// The largest difference beside the largest value.
double distance(const Doubles& have, const Doubles& want) {
  double off = 0;
  double most = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    off = std::max(off, std::fabs(have[i] - want[i]));
    most = std::max(most, std::fabs(want[i]));
    if (std::isnan(have[i]) || std::isnan(want[i])) return INFINITY;
  }
  return off / most;
}

class Walk {
 public:
  Walk(const std::string& device, const Plan& plan) : plan_(plan) {
    uint32_t index = 0;
    if (device != "cpu") {
      const mill_status status =
          mill_device_open(context_.get(), device.c_str(), MILL_NTS, &index, nullptr);
      if (status != MILL_OK) throw std::runtime_error("cannot open " + device);
    }
    x_ = mr::Exec::create(context_, index);
    group_ = mr::Group::create(context_, MILL_F64);
    for (size_t k = 0; k < Problem::kParams; ++k)
      group_.add("p" + std::to_string(k), mr::Dims(Problem::dims(k)));
    group_.build(x_);
    std::vector<Doubles> start;
    for (uint32_t k = 0; k < Problem::kParams; ++k) {
      params_.push_back(group_.param(k));
      const Doubles& values = problem_.start(k);
      mr::detail::check([&](mill_error* e) {
        return mill_tensor_write(x_.get(), params_[k].get(), values.data(),
                                 values.size() * sizeof(double), e);
      });
      start.push_back(values);
      Doubles half = problem_.steepness(k);
      for (double& c : half) c /= 2;
      half_.push_back(mr::Tensor::from(x_, mr::Dims(Problem::dims(k)), half));
    }
    reference_ = std::make_unique<Reference>(plan_, start);
    tape_ = mr::Tape::create(context_);
    optimizer_ = made(x_, group_, plan_);
    if (plan_.shape <= MILL_SCHEDULE_COSINE && plan_.start == 0) {
      mr::detail::check([&](mill_error* e) {
        return mill_optimizer_set_schedule(optimizer_.get(), plan_.shape, plan_.warmup, plan_.total,
                                           plan_.floor, e);
      });
    } else {
      optimizer_.set_schedule(plan_.shape, plan_.warmup, plan_.total, plan_.floor, plan_.start,
                              plan_.period, plan_.factor);
    }
    optimizer_.set_clip_norm(plan_.clip_norm);
    optimizer_.set_clip_value(plan_.clip_value);
    optimizer_.set_gradient_scale(plan_.gradient_scale);
    optimizer_.set_dampening(plan_.dampening);
    if (plan_.loss_scale > 0) optimizer_.set_loss_scale(x_, plan_.loss_scale);
    if (plan_.ema > 0) optimizer_.set_ema(x_, plan_.ema, plan_.ema_warm_up);
    for (const ParamPlan& own : plan_.params)
      optimizer_.set_param_options(x_, own.index, own.rate_factor, own.decay);
  }

  void compare() {
    double worst = 0;
    for (int64_t t = 1; t <= kSteps; ++t) {
      step();
      for (uint32_t k = 0; k < Problem::kParams; ++k) {
        const double off = distance(params_[k].read<double>(x_), reference_->values(k));
        worst = std::max(worst, off);
        ASSERT_LE(off, kTolerance) << "step " << t << ", parameter " << k;
        if (plan_.ema > 0) {
          ASSERT_LE(distance(optimizer_.ema(k).read<double>(x_), reference_->ema(k)), kTolerance)
              << "average of parameter " << k << " at step " << t;
        }
      }
      ASSERT_NEAR(scalar(mill_optimizer_rate), reference_->rate(), 1e-14 * plan_.rate) << t;
      if (plan_.clip_norm > 0) {
        ASSERT_NEAR(scalar(mill_optimizer_norm), reference_->norm(), 1e-11 * reference_->norm());
      }
    }
    EXPECT_EQ(optimizer_.steps(), kSteps);
    char text[32];
    std::snprintf(text, sizeof text, "%.2g", worst);
    testing::Test::RecordProperty("worst", text);
  }

 private:
  void step() {
    std::vector<Doubles> sums;
    for (size_t k = 0; k < Problem::kParams; ++k) sums.emplace_back(Problem::count(k), 0.0);
    for (int b = 0; b < plan_.backwards; ++b) {
      mr::Tensor loss;
      {
        const mr::Recording recording(x_, tape_);
        for (size_t k = 0; k < Problem::kParams; ++k) {
          const Doubles aim = problem_.aim(k);
          for (size_t i = 0; i < aim.size(); ++i)
            sums[k][i] += problem_.steepness(k)[i] * (reference_->values(k)[i] - aim[i]);
          const mr::Tensor off =
              mr::sub(x_, params_[k], mr::Tensor::from(x_, mr::Dims(Problem::dims(k)), aim));
          mr::Tensor part = mr::sum(x_, mr::mul(x_, mr::mul(x_, off, off), half_[k]));
          loss = loss ? mr::add(x_, loss, part) : std::move(part);
        }
      }
      const mr::Tensor seed = plan_.loss_scale > 0 ? optimizer_.loss_scale() : mr::Tensor();
      mr::detail::check([&](mill_error* e) {
        return mill_tape_backward(tape_.get(), x_.get(), loss.get(), seed.get(), 0, e);
      });
    }
    reference_->step(sums);
    optimizer_.step(x_);
  }
  double scalar(mill_status (*get)(mill_optimizer*, mill_tensor**, mill_error*)) {
    return mr::Tensor::adopt(mr::detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
             return get(optimizer_.get(), out, e);
           }))
        .item(x_);
  }

  Plan plan_;
  Problem problem_;
  mr::Context context_ = mr::Context::create();
  mr::Exec x_;
  mr::Group group_;
  std::vector<mr::Tensor> params_;
  std::vector<mr::Tensor> half_;
  mr::Tape tape_;
  mr::Optimizer optimizer_;
  std::unique_ptr<Reference> reference_;
};

// ---- the plans ----------------------------------------------------------------------------------

Plan basic(Rule rule) {
  Plan s;
  s.rule = rule;
  if (rule == Rule::lion) {
    s.rate = 0.002;
    s.beta2 = 0.99;
  }
  if (rule == Rule::adagrad) {
    s.rate = 0.1;
    s.eps = 1e-10;
  }
  return s;
}

std::vector<Plan> plans() {
  std::vector<Plan> out;
  const auto add = [&](std::string name, Rule rule, auto&& change) {
    Plan s = basic(rule);
    change(s);
    s.name = std::move(name);
    out.push_back(s);
  };
  const auto same = [](Plan&) {};
  struct Named {
    Rule rule;
    const char* name;
  };
  const Named rules[] = {{Rule::sgd, "Sgd"},         {Rule::adamw, "AdamW"},
                         {Rule::adam, "Adam"},       {Rule::rmsprop, "RmsProp"},
                         {Rule::adagrad, "Adagrad"}, {Rule::lion, "Lion"}};
  const auto everything = [](Plan& s) {
    s.decay = 0.02;
    s.clip_value = 2;
    s.clip_norm = 5;
    s.shape = MILL_SCHEDULE_RESTARTS;
    s.warmup = 30;
    s.start = 0.1;
    s.period = 60;
    s.factor = 2;
    s.floor = 0.05;
    s.gradient_scale = 0.5;
    s.backwards = 2;
    s.ema = 0.98;
    s.params = {{1, 2, 0}, {2, 0.5, 0.1}};
  };
  for (const Named& one : rules) {
    const std::string name = one.name;
    add(name, one.rule, same);
    add(name + "Decay", one.rule, [](Plan& s) { s.decay = 0.05; });
    add(name + "ClipNorm", one.rule, [](Plan& s) { s.clip_norm = 3; });
    add(name + "ClipValue", one.rule, [](Plan& s) { s.clip_value = 0.7; });
    add(name + "Cosine", one.rule, [](Plan& s) {
      s.shape = MILL_SCHEDULE_COSINE;
      s.warmup = 50;
      s.total = 900;
      s.floor = 0.1;
    });
    add(name + "LossScale", one.rule, [](Plan& s) {
      s.loss_scale = 65536;
      s.clip_norm = 4;
      s.clip_value = 1;
    });
    add(name + "Everything", one.rule, everything);
  }
  add("SgdMomentum", Rule::sgd, [](Plan& s) { s.momentum = 0.9; });
  add("SgdNesterov", Rule::sgd, [](Plan& s) {
    s.momentum = 0.9;
    s.nesterov = true;
    s.decay = 0.01;
  });
  add("SgdDampening", Rule::sgd, [](Plan& s) {
    s.momentum = 0.9;
    s.dampening = 0.3;
    s.decay = 0.01;
  });
  add("SgdDampeningOne", Rule::sgd, [](Plan& s) {
    s.momentum = 0.99;
    s.dampening = 1;
  });
  add("SgdDampeningEverything", Rule::sgd, [&](Plan& s) {
    everything(s);
    s.momentum = 0.8;
    s.dampening = 0.5;
  });
  add("AdamAmsgrad", Rule::adam, [](Plan& s) { s.amsgrad = true; });
  add("AdamAmsgradDecay", Rule::adam, [](Plan& s) {
    s.amsgrad = true;
    s.decay = 0.05;
    s.beta2 = 0.9;
  });
  add("AdamDecoupledAmsgrad", Rule::adam, [](Plan& s) {
    s.amsgrad = true;
    s.decoupled = true;
    s.decay = 0.05;
  });
  add("AdamAmsgradEverything", Rule::adam, [&](Plan& s) {
    everything(s);
    s.amsgrad = true;
  });
  add("RmsPropMomentum", Rule::rmsprop, [](Plan& s) {
    s.momentum = 0.9;
    s.rate = 0.002;
  });
  add("RmsPropCentered", Rule::rmsprop, [](Plan& s) { s.centered = true; });
  add("RmsPropCenteredMomentumEverything", Rule::rmsprop, [&](Plan& s) {
    everything(s);
    s.centered = true;
    s.momentum = 0.7;
    s.alpha = 0.9;
    s.rate = 0.001;
  });
  add("AdagradRateDecay", Rule::adagrad, [](Plan& s) {
    s.rate_decay = 0.01;
    s.initial = 0.1;
  });
  // Shapes of schedules, with and without a warm-up.
  const auto shaped = [&](const char* name, int32_t shape, auto&& change) {
    for (const int64_t warmup : {int64_t{0}, int64_t{1}, int64_t{40}}) {
      add(std::string("Schedule") + name + std::to_string(warmup), Rule::sgd, [&](Plan& s) {
        s.rate = 0.1;
        s.shape = shape;
        s.warmup = warmup;
        s.start = 0.04;
        s.total = 800;
        change(s);
      });
    }
  };
  shaped("Constant", MILL_SCHEDULE_CONSTANT, same);
  shaped("Cosine", MILL_SCHEDULE_COSINE, [](Plan& s) { s.floor = 0.1; });
  shaped("Linear", MILL_SCHEDULE_LINEAR, [](Plan& s) { s.floor = 0.25; });
  shaped("Restarts", MILL_SCHEDULE_RESTARTS, [](Plan& s) { s.period = 100; });
  shaped("RestartsDoubling", MILL_SCHEDULE_RESTARTS, [](Plan& s) {
    s.period = 7;
    s.factor = 2;
    s.floor = 0.01;
  });
  shaped("Steps", MILL_SCHEDULE_STEPS, [](Plan& s) {
    s.period = 90;
    s.factor = 0.5;
    s.floor = 0.005;
  });
  shaped("Exponential", MILL_SCHEDULE_EXPONENTIAL, [](Plan& s) {
    s.period = 10;
    s.factor = 0.95;
    s.floor = 0.02;
  });
  shaped("Polynomial", MILL_SCHEDULE_POLYNOMIAL, [](Plan& s) {
    s.factor = 1.7;
    s.floor = 0.1;
  });
  shaped("OneCycle", MILL_SCHEDULE_ONE_CYCLE, [](Plan& s) { s.floor = 1e-4; });
  shaped("InverseRoot", MILL_SCHEDULE_INVERSE_ROOT, [](Plan& s) { s.floor = 0.04; });
  add("Average", Rule::adamw, [](Plan& s) { s.ema = 0.99; });
  add("AverageWarmUp", Rule::sgd, [](Plan& s) {
    s.ema = 0.95;
    s.ema_warm_up = true;
  });
  add("AccumulationMean", Rule::adamw, [](Plan& s) {
    s.backwards = 4;
    s.gradient_scale = 0.25;
    s.clip_norm = 2;
  });
  add("FrozenByItsOptions", Rule::adam, [](Plan& s) {
    s.decay = 0.1;
    s.params = {{0, 0, 0}, {1, 3, 0.1}, {2, 3, 0.1}};
  });
  return out;
}

struct Case {
  std::string device;
  Plan plan;
};

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const char* device : {"cpu", "sim"}) {
    for (const Plan& plan : plans()) out.push_back({device, plan});
  }
  return out;
}

class Trajectory : public testing::TestWithParam<Case> {};

TEST_P(Trajectory, FollowsTheDefinition) {
  Walk(GetParam().device, GetParam().plan).compare();
}

INSTANTIATE_TEST_SUITE_P(Optimizers, Trajectory, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& one) {
                           return one.param.plan.name +
                                  (one.param.device == "cpu" ? "OnCpu" : "OnSim");
                         });

}  // namespace
}  // namespace mill_test
