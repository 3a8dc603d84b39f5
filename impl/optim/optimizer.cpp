#include "optim/optimizer.h"

#include <cmath>

#include "base/fork.h"
#include "dispatch/transfer.h"
#include "millrace/ops.h"
#include "ops/calls.gen.h"
#include "optim/hyperparameters.h"

mill_optimizer::mill_optimizer(mill_exec& exec, mill_group& owner, const Options& chosen)
    : group(mill::Ref<mill_group>::share(&owner)), options(chosen) {
  mill::optim::check_options(chosen, owner.dtype);
  owner.require_built();
  if (&owner.values->device() != &exec.device) {
    mill::fail_argument(MILL_E_DEVICE, 0, "the exec is on device %u, the group on device %u",
                        exec.device.index(), owner.values->device().index());
  }
  stat_dtype_ = owner.dtype == MILL_F64 ? MILL_F64 : MILL_F32;
  const mill::RecorderScope quiet(exec, nullptr);
  const int64_t one = 1;
  base_rate = mill::op::fill(exec, &one, 1, stat_dtype_, chosen.rate);
  rate = mill::op::fill(exec, &one, 1, stat_dtype_, chosen.rate);
  factor = mill::op::fill(exec, &one, 1, stat_dtype_, 1);
  norm = mill::op::fill(exec, &one, 1, stat_dtype_, 0);
  step_count = mill::op::fill(exec, &one, 1, MILL_I64, 0);
  add_states(exec);
  if (owner.dtype == MILL_F16 || owner.dtype == MILL_BF16) {
    master_ = mill::op::cast(exec, owner.values.get(), MILL_F32);
    seen_ = parameter_version();
  }
}

// The order is that of the ops' states.
void mill_optimizer::add_states(mill_exec& exec) {
  const auto add = [&](int k, const char* name, double value = 0) {
    state_names_[k] = name;
    states_[k] = mill::op::fill(exec, &group->total, 1, stat_dtype_, value);
  };
  switch (options.rule) {
    case Rule::sgd:
      if (options.momentum > 0) add(0, "velocity");
      break;
    case Rule::adamw:
    case Rule::adam:
      add(0, "m");
      add(1, "v");
      if (options.amsgrad) add(2, "v_max");
      break;
    case Rule::rmsprop:
      add(0, "square");
      if (options.centered) add(1, "mean");
      if (options.momentum > 0) add(2, "velocity");
      break;
    case Rule::adagrad: add(0, "sum", options.initial); break;
    case Rule::lion: add(0, "m"); break;
  }
}

void release(mill_optimizer* optimizer) noexcept {
  if (optimizer->group->context->fork_generation != mill::fork_generation()) return;
  if (!optimizer->release()) return;
  const mill::Ref<mill_context> context = optimizer->group->context;
  mill::slab_delete(optimizer);
}

std::vector<mill_optimizer::State> mill_optimizer::states() const {
  std::vector<State> out;
  for (int k = 0; k < kStates; ++k) {
    if (states_[k]) out.push_back({state_names_[k], states_[k].get()});
  }
  if (master_) out.push_back({"master", master_.get()});
  if (ema) out.push_back({"ema", ema.get()});
  return out;
}

void mill_optimizer::set_rate(mill_exec& exec, double value) {
  mill::optim::require_not_negative(value, "rate", 2);
  mill::optim::require_representable(value, group->dtype, "rate", 2);
  const mill::RecorderScope quiet(exec, nullptr);
  const int64_t one = 1;
  mill::op::fill(exec, &one, 1, stat_dtype_, value, base_rate.get());
  options.rate = value;
}

void mill_optimizer::set_schedule(const Schedule& schedule) {
  mill::optim::check_schedule(schedule);
  const mill::GroupUse use(*group);
  schedule_ = schedule;
}

void mill_optimizer::set_clip_norm(double max_norm) {
  mill::optim::require_not_negative(max_norm, "max_norm", 1);
  const mill::GroupUse use(*group);
  max_norm_ = max_norm;
}

void mill_optimizer::set_clip_value(double limit) {
  mill::optim::require_not_negative(limit, "limit", 1);
  mill::optim::require_representable(limit, group->dtype, "limit", 1);
  const mill::GroupUse use(*group);
  clip_value_ = limit;
}

void mill_optimizer::set_dampening(double dampening) {
  mill::optim::require_share(dampening, "dampening", 1);
  if (dampening > 0) {
    if (options.rule != Rule::sgd || options.momentum == 0) {
      mill::fail(MILL_E_STATE, "dampening is %g, only SGD with momentum has one", dampening);
    }
    if (options.nesterov) {
      mill::fail(MILL_E_STATE, "dampening is %g and nesterov is true, it must be 0 then",
                 dampening);
    }
  }
  const mill::GroupUse use(*group);
  options.dampening = dampening;
}

void mill_optimizer::set_gradient_scale(double value) {
  constexpr double kLeast = 0x1p-24;  // its square is no f32's underflow
  constexpr double kMost = 0x1p24;
  if (!(value >= kLeast && value <= kMost))
    mill::fail_argument(MILL_E_ARG, 1, "scale is %g, it must be from 2^-24 to 2^24", value);
  const mill::GroupUse use(*group);
  gradient_scale_ = value;
}

mill_optimizer::ParamOptions mill_optimizer::options_of(size_t index) const {
  return by_param_.empty() ? ParamOptions{1, options.weight_decay} : by_param_[index];
}

mill_tensor* mill_optimizer::rate_of(double factor_wanted) const {
  for (const ScaledRate& one : scaled_rates_) {
    if (one.factor == factor_wanted) return one.rate.get();
  }
  return rate.get();
}

void mill_optimizer::set_param_options(mill_exec& exec, uint32_t index, double rate_factor,
                                       double weight_decay) {
  mill::optim::require_not_negative(rate_factor, "rate_factor", 3);
  mill::optim::require_representable(rate_factor, group->dtype, "rate_factor", 3);
  mill::optim::require_not_negative(weight_decay, "weight_decay", 4);
  const mill::GroupUse use(*group);
  std::vector<ParamOptions> chosen = by_param_;
  if (chosen.empty()) chosen.assign(group->params.size(), {1, options.weight_decay});
  chosen[index] = {rate_factor, weight_decay};
  // A scalar for each factor that is used; those at hand are kept.
  const mill::RecorderScope quiet(exec, nullptr);
  std::vector<ScaledRate> rates;
  for (const ParamOptions& one : chosen) {
    if (one.rate_factor == 1) continue;
    bool known = false;
    for (const ScaledRate& made : rates) known = known || made.factor == one.rate_factor;
    if (known) continue;
    mill::TensorRef scalar;
    for (const ScaledRate& before : scaled_rates_) {
      if (before.factor == one.rate_factor) scalar = before.rate;
    }
    const int64_t n = 1;
    if (!scalar) scalar = mill::op::fill(exec, &n, 1, stat_dtype_, 0);
    rates.push_back({one.rate_factor, std::move(scalar)});
  }
  by_param_ = std::move(chosen);
  scaled_rates_ = std::move(rates);
}

void mill_optimizer::set_loss_scale(mill_exec& exec, double initial, double growth, double backoff,
                                    int64_t interval) {
  constexpr double kLeast = 0x1p-24;  // as scaler_update's
  constexpr double kMost = 0x1p24;
  if (initial != 0) {
    if (!(initial >= kLeast && initial <= kMost)) {
      mill::fail_argument(MILL_E_ARG, 2, "initial is %g, it must be 0 (off) or from 2^-24 to 2^24",
                          initial);
    }
    if (!(growth >= 1 && growth <= kMost))
      mill::fail_argument(MILL_E_ARG, 3, "growth is %g, it must be from 1 to 2^24", growth);
    if (!(backoff > 0 && backoff < 1))
      mill::fail_argument(MILL_E_ARG, 4, "backoff is %g, it must be in (0, 1)", backoff);
    if (interval < 1) {
      mill::fail_argument(MILL_E_ARG, 5, "interval is %lld, it must be at least 1",
                          static_cast<long long>(interval));
    }
  }
  const mill::GroupUse use(*group);
  if (initial == 0) {
    scale.reset();
    streak.reset();
    return;
  }
  const mill::RecorderScope quiet(exec, nullptr);
  const int64_t one = 1;
  mill::TensorRef count = mill::op::fill(exec, &one, 1, MILL_I64, 0, streak.get());
  scale = mill::op::fill(exec, nullptr, 0, stat_dtype_, initial, scale.get());
  streak = std::move(count);
  growth_ = growth;
  backoff_ = backoff;
  interval_ = interval;
}

// ---- averages -----------------------------------------------------------------------------------

void mill_optimizer::set_ema(mill_exec& exec, double decay, bool warm_up) {
  mill::optim::require_fraction(decay, "decay", 2);
  const mill::GroupUse use(*group);
  if (swapped_)
    mill::fail(MILL_E_STATE, "the averages are in the parameters' place, swap them back first");
  if (decay == 0) {
    ema.reset();
  } else if (!ema) {
    const mill::RecorderScope quiet(exec, nullptr);
    follow_parameters(exec);
    ema = mill::op::copy(exec, master_ ? master_.get() : group->values.get());
  }
  ema_decay_ = decay;
  ema_warm_up_ = warm_up;
}

// Weights and averages are exchanged in the precision they are kept in, so that twice is once.
void mill_optimizer::swap_ema(mill_exec& exec) {
  const mill::GroupUse use(*group);
  if (!ema) mill::fail(MILL_E_STATE, "there are no averages, mill_optimizer_set_ema begins them");
  const mill::RecorderScope quiet(exec, nullptr);
  follow_parameters(exec);
  mill_tensor* const weights = master_ ? master_.get() : group->values.get();
  const mill::TensorRef before = mill::op::copy(exec, weights);
  mill::op::copy(exec, ema.get(), weights);
  mill::op::copy(exec, before.get(), ema.get());
  swapped_ = !swapped_;
  if (master_) mill::op::cast(exec, master_.get(), group->dtype, group->values.get());
  seen_ = parameter_version();
}

int64_t mill_optimizer::steps() const {
  int64_t count = 0;
  mill::read_host_blocking(*step_count, &count, sizeof count);
  return count;
}
