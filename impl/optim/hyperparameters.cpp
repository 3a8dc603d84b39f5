#include "optim/hyperparameters.h"

#include <cmath>

#include "base/dtype.h"
#include "base/error.h"
#include "millrace/ops.h"

namespace mill::optim {

namespace {

bool representable(double value, int32_t dtype) {
  if (dtype == MILL_F64) return true;
  const auto narrow = static_cast<float>(value);
  return std::isfinite(narrow) && (narrow != 0 || value == 0);
}

void require_eps(double eps, int32_t dtype, int32_t argument) {
  if (!(eps > 0) || !std::isfinite(eps))
    fail_argument(MILL_E_ARG, argument, "eps is %g, it must be finite and above 0", eps);
  require_representable(eps, dtype, "eps", argument);
}

void check_sgd(const mill_optimizer::Options& o) {
  require_fraction(o.momentum, "momentum", 3);
  require_not_negative(o.weight_decay, "weight_decay", 4);
  if (o.nesterov && o.momentum == 0) {
    fail_argument(MILL_E_ARG, 5, "nesterov is true and momentum is 0, it needs momentum above 0");
  }
}

void check_adam(const mill_optimizer::Options& o, int32_t dtype) {
  require_fraction(o.beta1, "beta1", 3);
  require_fraction(o.beta2, "beta2", 4);
  require_eps(o.eps, dtype, 5);
  require_not_negative(o.weight_decay, "weight_decay", 6);
}

void check_rmsprop(const mill_optimizer::Options& o, int32_t dtype) {
  require_fraction(o.alpha, "alpha", 3);
  require_eps(o.eps, dtype, 4);
  require_fraction(o.momentum, "momentum", 5);
  require_not_negative(o.weight_decay, "weight_decay", 6);
}

void check_adagrad(const mill_optimizer::Options& o, int32_t dtype) {
  require_not_negative(o.rate_decay, "rate_decay", 3);
  require_not_negative(o.initial, "initial", 4);
  require_representable(o.initial, dtype, "initial", 4);
  require_eps(o.eps, dtype, 5);
  require_not_negative(o.weight_decay, "weight_decay", 6);
}

void check_lion(const mill_optimizer::Options& o) {
  require_fraction(o.beta1, "beta1", 3);
  require_fraction(o.beta2, "beta2", 4);
  require_not_negative(o.weight_decay, "weight_decay", 5);
}

}  // namespace

void require_fraction(double value, const char* name, int32_t argument) {
  if (!(value >= 0 && value < 1))
    fail_argument(MILL_E_ARG, argument, "%s is %g, it must be in [0, 1)", name, value);
}

void require_share(double value, const char* name, int32_t argument) {
  if (!(value >= 0 && value <= 1))
    fail_argument(MILL_E_ARG, argument, "%s is %g, it must be in [0, 1]", name, value);
}

void require_not_negative(double value, const char* name, int32_t argument) {
  if (!(value >= 0) || !std::isfinite(value)) {
    fail_argument(MILL_E_ARG, argument, "%s is %g, it must be finite and not negative", name,
                  value);
  }
}

void require_count(int64_t value, const char* name, int32_t argument) {
  if (value < 0) {
    fail_argument(MILL_E_ARG, argument, "%s is %lld, it must not be negative", name,
                  static_cast<long long>(value));
  }
}

void require_representable(double value, int32_t dtype, const char* name, int32_t argument) {
  if (!representable(value, dtype)) {
    fail_argument(MILL_E_ARG, argument,
                  "%s is %g, which f32 cannot hold and the group's %s parameters are updated in",
                  name, value, dtype_name(dtype));
  }
}

void check_options(const mill_optimizer::Options& o, int32_t dtype) {
  require_not_negative(o.rate, "rate", 2);
  require_representable(o.rate, dtype, "rate", 2);
  switch (o.rule) {
    case mill_optimizer::Rule::sgd: check_sgd(o); break;
    case mill_optimizer::Rule::adamw:
    case mill_optimizer::Rule::adam: check_adam(o, dtype); break;
    case mill_optimizer::Rule::rmsprop: check_rmsprop(o, dtype); break;
    case mill_optimizer::Rule::adagrad: check_adagrad(o, dtype); break;
    case mill_optimizer::Rule::lion: check_lion(o); break;
  }
}

// Positions are those of mill_optimizer_set_schedule_shape, the first four of them also of
// mill_optimizer_set_schedule.
void check_schedule(const mill_optimizer::Schedule& s) {
  require_count(s.warmup, "warmup", 2);
  require_count(s.total, "total", 3);
  const bool ends = s.shape == MILL_SCHEDULE_COSINE || s.shape == MILL_SCHEDULE_LINEAR ||
                    s.shape == MILL_SCHEDULE_POLYNOMIAL || s.shape == MILL_SCHEDULE_ONE_CYCLE;
  if (ends && s.total <= s.warmup) {
    fail_argument(MILL_E_ARG, 3, "total is %lld, it must be more than warmup %lld",
                  static_cast<long long>(s.total), static_cast<long long>(s.warmup));
  }
  require_share(s.floor, "floor", 4);
  require_share(s.start, "start", 5);
  if (s.period < 1) {
    fail_argument(MILL_E_ARG, 6, "period is %lld, it must be at least 1",
                  static_cast<long long>(s.period));
  }
  if (!(s.factor > 0) || !std::isfinite(s.factor))
    fail_argument(MILL_E_ARG, 7, "factor is %g, it must be finite and above 0", s.factor);
  if (s.shape == MILL_SCHEDULE_RESTARTS &&
      (s.factor < 1 || s.factor > 0x1p31 || s.factor != std::floor(s.factor))) {
    fail_argument(MILL_E_ARG, 7, "factor is %g, restarts need a whole number from 1 to 2^31",
                  s.factor);
  }
}

}  // namespace mill::optim
