#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "base/fork.h"
#include "dispatch/transfer.h"
#include "millrace/ops.h"
#include "ops/calls.gen.h"

namespace {

void require_fraction(double value, const char* name, int32_t argument) {
  if (!(value >= 0 && value < 1))
    mill::fail_argument(MILL_E_ARG, argument, "%s is %g, it must be in [0, 1)", name, value);
}

void require_not_negative(double value, const char* name, int32_t argument) {
  if (!(value >= 0) || !std::isfinite(value)) {
    mill::fail_argument(MILL_E_ARG, argument, "%s is %g, it must be finite and not negative", name,
                        value);
  }
}

// What a step computes in: beyond f32's range a rate is infinite and an eps is 0, and both end in
// NaN.
bool representable(double value, int32_t dtype) {
  if (dtype == MILL_F64) return true;
  const auto narrow = static_cast<float>(value);
  return std::isfinite(narrow) && (narrow != 0 || value == 0);
}

void require_representable(double value, int32_t dtype, const char* name, int32_t argument) {
  if (!representable(value, dtype)) {
    mill::fail_argument(MILL_E_ARG, argument,
                        "%s is %g, which f32 cannot hold and the group's %s "
                        "parameters are updated in",
                        name, value, mill::dtype_name(dtype));
  }
}

void check_options(const mill_optimizer::Options& o, int32_t dtype) {
  require_not_negative(o.rate, "rate", 2);
  require_representable(o.rate, dtype, "rate", 2);
  if (o.rule == mill_optimizer::Rule::sgd) {
    require_fraction(o.momentum, "momentum", 3);
    require_not_negative(o.weight_decay, "weight_decay", 4);
    if (o.nesterov && o.momentum == 0) {
      mill::fail_argument(MILL_E_ARG, 5,
                          "nesterov is true and momentum is 0, it needs momentum above 0");
    }
    return;
  }
  require_fraction(o.beta1, "beta1", 3);
  require_fraction(o.beta2, "beta2", 4);
  if (!(o.eps > 0) || !std::isfinite(o.eps)) {
    mill::fail_argument(MILL_E_ARG, 5, "eps is %g, it must be finite and above 0", o.eps);
  }
  require_representable(o.eps, dtype, "eps", 5);
  require_not_negative(o.weight_decay, "weight_decay", 6);
}

}  // namespace

mill_optimizer::mill_optimizer(mill_exec& exec, mill_group& owner, const Options& chosen)
    : group(mill::Ref<mill_group>::share(&owner)), options(chosen) {
  check_options(chosen, owner.dtype);
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
  const auto state = [&] { return mill::op::fill(exec, &owner.total, 1, stat_dtype_, 0); };
  if (chosen.rule == Rule::adamw) {
    m = state();
    v = state();
  } else if (chosen.momentum > 0) {
    velocity = state();
  }
  if (owner.dtype == MILL_F16 || owner.dtype == MILL_BF16) {
    master = mill::op::cast(exec, owner.values.get(), MILL_F32);
    seen_ = parameter_version();
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
  for (const State& one : {State{"velocity", velocity.get()}, State{"m", m.get()},
                           State{"v", v.get()}, State{"master", master.get()}}) {
    if (one.tensor) out.push_back(one);
  }
  return out;
}

namespace {

mill::TensorRef part_of(const mill::TensorRef& flat, int64_t begin, int64_t end) {
  const int64_t count = end - begin;
  if (!flat || count == flat->numel()) return flat;
  const int64_t stride = 1;
  return mill::make_view(flat->storage.get(), flat->dtype(), &count, &stride, 1, begin);
}

}  // namespace

void mill_optimizer::gather_parts() {
  const mill::TensorRef& first = options.rule == Rule::adamw ? m : velocity;
  group->fresh_ranges([&](int64_t begin, int64_t end) {
    parts_.push_back({part_of(group->values, begin, end), part_of(group->gradients, begin, end),
                      part_of(first, begin, end), part_of(v, begin, end),
                      part_of(master, begin, end)});
  });
}

// Parameters may have been written since the last step, by an initialisation, by a file or by
// another optimizer. Where one is no longer its master rounded, the parameter counts.
void mill_optimizer::follow_parameters(mill_exec& exec) {
  if (!master || parameter_version() == seen_) return;
  const mill::TensorRef rounded = mill::op::cast(exec, master.get(), group->dtype);
  const mill::TensorRef same =
      mill::op::compare(exec, rounded.get(), group->values.get(), MILL_COMPARE_EQ);
  const mill::TensorRef wide = mill::op::cast(exec, group->values.get(), MILL_F32);
  mill::op::where(exec, same.get(), master.get(), wide.get(), master.get());
}

mill::TensorRef mill_optimizer::squared_total(mill_exec& exec) const {
  mill_tensor* pointers[MILL_MAX_OP_INPUTS];
  mill::TensorRef total;
  for (size_t k = 0; k < parts_.size();) {
    uint32_t n = 0;
    while (n < MILL_MAX_OP_INPUTS && k < parts_.size()) pointers[n++] = parts_[k++].gradients.get();
    const mill::TensorRef sum = mill::op::squared_norm(exec, pointers, n);
    total = total ? mill::op::add(exec, total.get(), sum.get()) : sum;
  }
  return total;
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
  if (shape_ != MILL_SCHEDULE_CONSTANT || warmup_ > 0) {
    mill::op::schedule(exec, step_count.get(), base_rate.get(), shape_, warmup_, total_, floor_,
                       rate.get());
  } else {
    mill::op::copy(exec, base_rate.get(), rate.get());
  }
  if (!total || scales_loss()) return;
  mill::TensorRef out[2] = {factor, norm};
  mill::op::clip_factor(exec, total, max_norm_, out);
}

void mill_optimizer::update(mill_exec& exec, const Part& part) {
  mill_tensor* clip = takes_norm() ? factor.get() : nullptr;
  if (part.master) {
    update_master(exec, part, clip);
    return;
  }
  if (options.rule == Rule::adamw) {
    mill::TensorRef out[3] = {part.values, part.first, part.second};
    mill::op::adamw_step(exec, part.values.get(), part.gradients.get(), part.first.get(),
                         part.second.get(), rate.get(), step_count.get(), clip, options.beta1,
                         options.beta2, options.eps, options.weight_decay, out);
    return;
  }
  mill::TensorRef out[2] = {part.values, part.first};
  mill::op::sgd_step(exec, part.values.get(), part.gradients.get(), part.first.get(), rate.get(),
                     clip, options.momentum, options.weight_decay, options.nesterov, out);
}

void mill_optimizer::update_master(mill_exec& exec, const Part& part, mill_tensor* clip) {
  if (options.rule == Rule::adamw) {
    mill::TensorRef out[4] = {part.values, part.first, part.second, part.master};
    mill::op::adamw_master_step(exec, part.values.get(), part.gradients.get(), part.first.get(),
                                part.second.get(), rate.get(), step_count.get(), clip,
                                part.master.get(), options.beta1, options.beta2, options.eps,
                                options.weight_decay, out);
    return;
  }
  mill::TensorRef out[3] = {part.values, part.first, part.master};
  mill::op::sgd_master_step(exec, part.values.get(), part.gradients.get(), part.first.get(),
                            rate.get(), clip, part.master.get(), options.momentum,
                            options.weight_decay, options.nesterov, out);
}

// All that needs memory comes first: a step that is refused has changed nothing.
void mill_optimizer::step(mill_exec& exec) {
  const mill::GroupUse use(*group);
  if (&exec.device != &group->values->device()) {
    mill::fail_argument(MILL_E_DEVICE, 1, "the exec is on device %u, the group on device %u",
                        exec.device.index(), group->values->device().index());
  }
  struct Clear {
    std::vector<Part>& parts;
    ~Clear() { parts.clear(); }
  } clear{parts_};
  gather_parts();
  if (parts_.empty()) return;
  const mill::RecorderScope quiet(exec, nullptr);
  follow_parameters(exec);
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
  for (const Part& part : parts_) update(exec, part);
  seen_ = parameter_version();
}

void mill_optimizer::set_rate(mill_exec& exec, double value) {
  require_not_negative(value, "rate", 2);
  require_representable(value, group->dtype, "rate", 2);
  const mill::RecorderScope quiet(exec, nullptr);
  const int64_t one = 1;
  mill::op::fill(exec, &one, 1, stat_dtype_, value, base_rate.get());
  options.rate = value;
}

void mill_optimizer::set_schedule(int32_t shape, int64_t warmup, int64_t total, double floor) {
  if (shape != MILL_SCHEDULE_CONSTANT && shape != MILL_SCHEDULE_COSINE) {
    mill::fail_argument(MILL_E_ARG, 1, "shape is %d, it must be 0 (constant) or 1 (cosine)", shape);
  }
  if (warmup < 0) {
    mill::fail_argument(MILL_E_ARG, 2, "warmup is %lld, it must not be negative",
                        static_cast<long long>(warmup));
  }
  if (total < 0) {
    mill::fail_argument(MILL_E_ARG, 3, "total is %lld, it must not be negative",
                        static_cast<long long>(total));
  }
  if (shape == MILL_SCHEDULE_COSINE && total <= warmup) {
    mill::fail_argument(MILL_E_ARG, 3, "total is %lld, it must be more than warmup %lld",
                        static_cast<long long>(total), static_cast<long long>(warmup));
  }
  if (!(floor >= 0 && floor <= 1))
    mill::fail_argument(MILL_E_ARG, 4, "floor is %g, it must be in [0, 1]", floor);
  const mill::GroupUse use(*group);
  shape_ = shape;
  warmup_ = warmup;
  total_ = total;
  floor_ = floor;
}

void mill_optimizer::set_clip_norm(double max_norm) {
  require_not_negative(max_norm, "max_norm", 1);
  const mill::GroupUse use(*group);
  max_norm_ = max_norm;
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

int64_t mill_optimizer::steps() const {
  int64_t count = 0;
  mill::read_host_blocking(*step_count, &count, sizeof count);
  return count;
}
