// One step: what is fresh, the norm of it, rate and factor, the fused updates, the averages.
#include <cmath>

#include "millrace/ops.h"
#include "ops/calls.gen.h"
#include "optim/optimizer.h"

namespace {

mill::TensorRef part_of(const mill::TensorRef& flat, int64_t begin, int64_t end) {
  const int64_t count = end - begin;
  if (!flat || count == flat->numel()) return flat;
  const int64_t stride = 1;
  return mill::make_view(flat->storage.get(), flat->dtype(), &count, &stride, 1, begin);
}

}  // namespace

// Parameters beside one another with the same options are one part. The norm does not care for
// options: it takes whole spans.
void mill_optimizer::gather_parts() {
  const auto alike = [&](size_t first, size_t k) {
    return by_param_.empty() || by_param_[first] == by_param_[k];
  };
  group->fresh_ranges(alike, [&](size_t first, int64_t begin, int64_t end) {
    const ParamOptions chosen = options_of(first);
    Part part = {part_of(group->values, begin, end),
                 part_of(group->gradients, begin, end),
                 {},
                 part_of(master_, begin, end),
                 rate_of(chosen.rate_factor),
                 chosen.weight_decay};
    for (int k = 0; k < kStates; ++k) part.state[k] = part_of(states_[k], begin, end);
    parts_.push_back(std::move(part));
    if (!spans_.empty() && spans_.back().end == begin) {
      spans_.back().end = end;
    } else {
      spans_.push_back({begin, end});
    }
  });
  if (spans_.size() == parts_.size()) {
    for (const Part& part : parts_) fresh_.push_back(part.gradients);
  } else {
    for (const Span& span : spans_)
      fresh_.push_back(part_of(group->gradients, span.begin, span.end));
  }
}

// Parameters may have been written since the last step, by an initialisation, by a file or by
// another optimizer. Where one is no longer its master rounded, the parameter counts.
void mill_optimizer::follow_parameters(mill_exec& exec) {
  if (!master_ || parameter_version() == seen_) return;
  const mill::TensorRef rounded = mill::op::cast(exec, master_.get(), group->dtype);
  const mill::TensorRef same =
      mill::op::compare(exec, rounded.get(), group->values.get(), MILL_COMPARE_EQ);
  const mill::TensorRef wide = mill::op::cast(exec, group->values.get(), MILL_F32);
  mill::op::where(exec, same.get(), master_.get(), wide.get(), master_.get());
}

mill::TensorRef mill_optimizer::squared_total(mill_exec& exec) const {
  mill_tensor* pointers[MILL_MAX_OP_INPUTS];
  mill::TensorRef total;
  for (size_t k = 0; k < fresh_.size();) {
    uint32_t n = 0;
    while (n < MILL_MAX_OP_INPUTS && k < fresh_.size()) pointers[n++] = fresh_[k++].get();
    const mill::TensorRef sum = mill::op::squared_norm(exec, pointers, n);
    total = total ? mill::op::add(exec, total.get(), sum.get()) : sum;
  }
  if (scales_gradients())
    mill::op::affine(exec, total.get(), gradient_scale_ * gradient_scale_, 0, total.get());
  return total;
}

void mill_optimizer::advance_rate(mill_exec& exec) {
  const Schedule& s = schedule_;
  if (s.shape == MILL_SCHEDULE_CONSTANT && s.warmup == 0) {
    mill::op::copy(exec, base_rate.get(), rate.get());
  } else if (s.shape <= MILL_SCHEDULE_COSINE && s.start == 0) {
    mill::op::schedule(exec, step_count.get(), base_rate.get(), s.shape, s.warmup, s.total, s.floor,
                       rate.get());
  } else {
    mill::op::rate_schedule(exec, step_count.get(), base_rate.get(), s.shape, s.warmup, s.total,
                            s.floor, s.start, s.period, s.factor, rate.get());
  }
  for (const ScaledRate& one : scaled_rates_)
    mill::op::affine(exec, rate.get(), one.factor, 0, one.rate.get());
}

// Counter, learning rate and clip factor of this step, all computed where they live.
void mill_optimizer::advance(mill_exec& exec, mill_tensor* total, bool& begun) {
  if (scales_loss()) {
    mill::TensorRef out[5] = {factor, norm, scale, streak, step_count};
    mill::op::scaler_update(exec, total, scale.get(), streak.get(), step_count.get(), growth_,
                            backoff_, interval_, max_norm_, out);
  } else {
    mill::op::increment(exec, step_count.get(), step_count.get());
  }
  begun = true;
  advance_rate(exec);
  if (total && !scales_loss()) {
    mill::TensorRef out[2] = {factor, norm};
    mill::op::clip_factor(exec, total, max_norm_, out);
  }
  if (!scales_gradients()) return;
  // A factor below 0, of a step to skip, stays below 0.
  const int64_t one = 1;
  if (total) {
    mill::op::affine(exec, factor.get(), gradient_scale_, 0, factor.get());
  } else {
    mill::op::fill(exec, &one, 1, stat_dtype_, gradient_scale_, factor.get());
  }
}

void mill_optimizer::update(mill_exec& exec, Part& part) {
  mill_tensor* clip = takes_norm() || scales_gradients() ? factor.get() : nullptr;
  if (options.rule == Rule::sgd) {
    update_sgd(exec, part, clip);
  } else if (options.rule == Rule::adamw) {
    update_adamw(exec, part, clip);
  } else {
    update_other(exec, part, clip);
  }
}

void mill_optimizer::update_sgd(mill_exec& exec, Part& part, mill_tensor* clip) {
  mill::TensorRef out[3] = {part.values, part.state[0], part.master};
  if (options.dampening > 0) {
    mill::op::momentum_step(exec, part.values.get(), part.gradients.get(), part.state[0].get(),
                            part.rate, step_count.get(), clip, part.master.get(), options.momentum,
                            options.dampening, part.weight_decay, options.nesterov, out);
  } else if (part.master) {
    mill::op::sgd_master_step(exec, part.values.get(), part.gradients.get(), part.state[0].get(),
                              part.rate, clip, part.master.get(), options.momentum,
                              part.weight_decay, options.nesterov, out);
  } else {
    mill::TensorRef own[2] = {part.values, part.state[0]};
    mill::op::sgd_step(exec, part.values.get(), part.gradients.get(), part.state[0].get(),
                       part.rate, clip, options.momentum, part.weight_decay, options.nesterov, own);
  }
}

void mill_optimizer::update_adamw(mill_exec& exec, Part& part, mill_tensor* clip) {
  if (part.master) {
    mill::TensorRef out[4] = {part.values, part.state[0], part.state[1], part.master};
    mill::op::adamw_master_step(exec, part.values.get(), part.gradients.get(), part.state[0].get(),
                                part.state[1].get(), part.rate, step_count.get(), clip,
                                part.master.get(), options.beta1, options.beta2, options.eps,
                                part.weight_decay, out);
    return;
  }
  mill::TensorRef out[3] = {part.values, part.state[0], part.state[1]};
  mill::op::adamw_step(exec, part.values.get(), part.gradients.get(), part.state[0].get(),
                       part.state[1].get(), part.rate, step_count.get(), clip, options.beta1,
                       options.beta2, options.eps, part.weight_decay, out);
}

void mill_optimizer::update_other(mill_exec& exec, Part& part, mill_tensor* clip) {
  mill_tensor* const values = part.values.get();
  mill_tensor* const gradients = part.gradients.get();
  mill_tensor* const first = part.state[0].get();
  mill_tensor* const second = part.state[1].get();
  mill_tensor* const third = part.state[2].get();
  mill_tensor* const master = part.master.get();
  mill::TensorRef three[3] = {part.values, part.state[0], part.master};
  mill::TensorRef five[5] = {part.values, part.state[0], part.state[1], part.state[2], part.master};
  switch (options.rule) {
    case Rule::adam:
      mill::op::adam_step(exec, values, gradients, first, second, third, part.rate,
                          step_count.get(), clip, master, options.beta1, options.beta2, options.eps,
                          part.weight_decay, options.decoupled, five);
      break;
    case Rule::rmsprop:
      mill::op::rmsprop_step(exec, values, gradients, first, second, third, part.rate, clip, master,
                             options.alpha, options.eps, options.momentum, part.weight_decay, five);
      break;
    case Rule::adagrad:
      mill::op::adagrad_step(exec, values, gradients, first, part.rate, step_count.get(), clip,
                             master, options.rate_decay, options.eps, part.weight_decay, three);
      break;
    default:
      mill::op::lion_step(exec, values, gradients, first, part.rate, clip, master, options.beta1,
                          options.beta2, part.weight_decay, three);
      break;
  }
}

// All that needs memory comes first: a step that is refused has changed nothing but gradients
// beyond the limit, which another step would bring there too.
void mill_optimizer::step(mill_exec& exec) {
  const mill::GroupUse use(*group);
  if (&exec.device != &group->values->device()) {
    mill::fail_argument(MILL_E_DEVICE, 1, "the exec is on device %u, the group on device %u",
                        exec.device.index(), group->values->device().index());
  }
  if (swapped_)
    mill::fail(MILL_E_STATE, "the averages are in the parameters' place, swap them back first");
  struct Clear {
    mill_optimizer& optimizer;
    ~Clear() {
      optimizer.parts_.clear();
      optimizer.spans_.clear();
      optimizer.fresh_.clear();
    }
  } clear{*this};
  gather_parts();
  if (parts_.empty()) return;
  const mill::RecorderScope quiet(exec, nullptr);
  follow_parameters(exec);
  const double limit = clip_value_ / gradient_scale_;
  if (limit > 0 && std::isfinite(limit)) {
    for (const mill::TensorRef& run : fresh_)
      mill::op::clamp_gradient(exec, run.get(), scale.get(), limit, run.get());
  }
  const mill::TensorRef total = takes_norm() ? squared_total(exec) : mill::TensorRef();
  // Once a step has begun its gradients are spent, also when the device fails in the middle: used
  // again, they would be added a second time to the parameters that were done.
  struct Spend {
    mill_group& group;
    bool begun = false;
    ~Spend() {
      for (mill_group::Param& param : group.params) param.fresh = param.fresh && !begun;
    }
  } spend{*group};
  advance(exec, total.get(), spend.begun);
  for (Part& part : parts_) update(exec, part);
  if (ema) {
    mill::op::average_step(exec, master_ ? master_.get() : group->values.get(), ema.get(),
                           step_count.get(), scales_loss() ? factor.get() : nullptr, ema_decay_,
                           ema_warm_up_, ema.get());
  }
  seen_ = parameter_version();
}
