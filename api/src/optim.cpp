#include "millrace/optim.h"

#include "base/utf8.h"
#include "checkpoint.h"
#include "guard.h"
#include "optim/group.h"
#include "optim/optimizer.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

mill_group& need_group(mill_group* group, int32_t argument) {
  mill_group& g = need(group, argument, "group");
  check_fork(*g.context);
  return g;
}

mill_optimizer& need_optimizer(mill_optimizer* optimizer) {
  mill_optimizer& o = need(optimizer, 0, "optimizer");
  check_fork(*o.group->context);
  return o;
}

mill_optimizer* create(mill_exec* exec, mill_group* group, const mill_optimizer::Options& options) {
  mill_exec& e = need(exec, 0, "exec");
  mill_group& g = need_group(group, 1);
  const ExecGuard entered(e);
  return slab_new<mill_optimizer>(e, g, options);
}

const mill_group::Param& need_param(mill_group& group, uint32_t index, int32_t argument) {
  return at_argument(argument, [&]() -> const mill_group::Param& { return group.param(index); });
}

}  // namespace

mill_status mill_group_create(mill_context* context, mill_dtype dtype, mill_group** out_group,
                              mill_error* err) {
  return guard("mill_group_create", err, [&] {
    clear_out(out_group, 2, "out_group");
    mill_context& c = need_context(context);
    if (!is_dtype(dtype))
      fail_argument(MILL_E_ARG, 1, "dtype is %d, dtypes are 1 to %d", dtype, MILL_DTYPE_COUNT - 1);
    *out_group = slab_new<mill_group>(&c, dtype);
  });
}

void mill_group_retain(mill_group* group) {
  if (valid(group, HandleKind::group)) retain(group);
}

void mill_group_release(mill_group* group) {
  if (valid(group, HandleKind::group)) release(group);
}

mill_status mill_group_add(mill_group* group, const char* name, const int64_t* dims, uint32_t rank,
                           uint32_t* out_index, mill_error* err) {
  return guard("mill_group_add", err, [&] {
    mill_group& g = need_group(group, 0);
    need_out(name, 1, "name");
    need_utf8(name, 1, "name");
    if (rank > 0 && !dims) fail_argument(MILL_E_ARG, 2, "dims is NULL, rank is %u", rank);
    const uint32_t index = at_argument(2, [&] { return g.add(name, dims, rank); });
    if (out_index) *out_index = index;
  });
}

mill_status mill_group_add_buffer(mill_group* group, const char* name, mill_tensor* tensor,
                                  mill_error* err) {
  return guard("mill_group_add_buffer", err, [&] {
    mill_group& g = need_group(group, 0);
    need_out(name, 1, "name");
    need_utf8(name, 1, "name");
    mill_tensor& t = need_tensor(tensor, 2, "tensor");
    if (&context_of(t) != g.context.get())
      fail_argument(MILL_E_DEVICE, 2, "tensor belongs to another context than the group");
    g.add_buffer(name, t);
  });
}

mill_status mill_group_build(mill_group* group, mill_exec* exec, mill_error* err) {
  return guard("mill_group_build", err, [&] {
    mill_group& g = need_group(group, 0);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    g.build(e);
  });
}

mill_status mill_group_count(mill_group* group, uint32_t* out_count, mill_error* err) {
  return guard("mill_group_count", err, [&] {
    need_out(out_count, 1, "out_count") = 0;
    *out_count = static_cast<uint32_t>(need_group(group, 0).params.size());
  });
}

mill_status mill_group_find(mill_group* group, const char* name, uint32_t* out_index,
                            mill_error* err) {
  return guard("mill_group_find", err, [&] {
    need_out(out_index, 2, "out_index") = 0;
    const mill_group& g = need_group(group, 0);
    need_out(name, 1, "name");
    need_utf8(name, 1, "name");
    const int64_t found = g.find(name);
    if (found < 0) {
      fail_argument(MILL_E_ARG, 1, "name is \"%.64s\", none of the group's %zu parameters has it",
                    name, g.params.size());
    }
    *out_index = static_cast<uint32_t>(found);
  });
}

mill_status mill_group_name(mill_group* group, uint32_t index, const char** out_name,
                            mill_error* err) {
  return guard("mill_group_name", err, [&] {
    need_out(out_name, 2, "out_name") = nullptr;
    mill_group& g = need_group(group, 0);
    *out_name = need_param(g, index, 1).name.c_str();
  });
}

mill_status mill_group_param(mill_group* group, uint32_t index, mill_tensor** out_tensor,
                             mill_error* err) {
  return guard("mill_group_param", err, [&] {
    clear_out(out_tensor, 2, "out_tensor");
    mill_group& g = need_group(group, 0);
    const mill_group::Param& param = need_param(g, index, 1);
    g.require_built();
    *out_tensor = TensorRef(param.tensor).release();
  });
}

mill_status mill_group_gradient(mill_group* group, uint32_t index, mill_tensor** out_tensor,
                                mill_error* err) {
  return guard("mill_group_gradient", err, [&]() -> mill_status {
    clear_out(out_tensor, 2, "out_tensor");
    mill_group& g = need_group(group, 0);
    const mill_group::Param& param = need_param(g, index, 1);
    g.require_built();
    if (!param.fresh) return MILL_NOT_READY;
    *out_tensor = TensorRef(param.gradient).release();
    return MILL_OK;
  });
}

mill_status mill_group_clear_gradients(mill_group* group, mill_error* err) {
  return guard("mill_group_clear_gradients", err, [&] { need_group(group, 0).clear_gradients(); });
}

mill_status mill_group_init(mill_group* group, mill_exec* exec, uint32_t index, int32_t kind,
                            double a, mill_error* err) {
  return guard("mill_group_init", err, [&] {
    mill_group& g = need_group(group, 0);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    static_cast<void>(need_param(g, index, 2));
    g.init(e, index, kind, a);
  });
}

mill_status mill_optimizer_create_sgd(mill_exec* exec, mill_group* group, double rate,
                                      double momentum, double weight_decay, mill_bool nesterov,
                                      mill_optimizer** out_optimizer, mill_error* err) {
  return guard("mill_optimizer_create_sgd", err, [&] {
    clear_out(out_optimizer, 6, "out_optimizer");
    mill_optimizer::Options options;
    options.rule = mill_optimizer::Rule::sgd;
    options.rate = rate;
    options.momentum = momentum;
    options.weight_decay = weight_decay;
    options.nesterov = nesterov != 0;
    *out_optimizer = create(exec, group, options);
  });
}

mill_status mill_optimizer_create_adamw(mill_exec* exec, mill_group* group, double rate,
                                        double beta1, double beta2, double eps, double weight_decay,
                                        mill_optimizer** out_optimizer, mill_error* err) {
  return guard("mill_optimizer_create_adamw", err, [&] {
    clear_out(out_optimizer, 7, "out_optimizer");
    mill_optimizer::Options options;
    options.rule = mill_optimizer::Rule::adamw;
    options.rate = rate;
    options.beta1 = beta1;
    options.beta2 = beta2;
    options.eps = eps;
    options.weight_decay = weight_decay;
    *out_optimizer = create(exec, group, options);
  });
}

mill_status mill_optimizer_create_adam(mill_exec* exec, mill_group* group, double rate,
                                       double beta1, double beta2, double eps, double weight_decay,
                                       uint64_t flags, mill_optimizer** out_optimizer,
                                       mill_error* err) {
  return guard("mill_optimizer_create_adam", err, [&] {
    clear_out(out_optimizer, 8, "out_optimizer");
    constexpr uint64_t kKnown = MILL_ADAM_AMSGRAD | MILL_ADAM_DECOUPLED;
    if ((flags & ~kKnown) != 0) {
      fail_argument(MILL_E_ARG, 7, "flags is %llu, only bits in %llu have a meaning",
                    static_cast<unsigned long long>(flags),
                    static_cast<unsigned long long>(kKnown));
    }
    mill_optimizer::Options options;
    options.rule = mill_optimizer::Rule::adam;
    options.rate = rate;
    options.beta1 = beta1;
    options.beta2 = beta2;
    options.eps = eps;
    options.weight_decay = weight_decay;
    options.amsgrad = (flags & MILL_ADAM_AMSGRAD) != 0;
    options.decoupled = (flags & MILL_ADAM_DECOUPLED) != 0;
    *out_optimizer = create(exec, group, options);
  });
}

mill_status mill_optimizer_create_rmsprop(mill_exec* exec, mill_group* group, double rate,
                                          double alpha, double eps, double momentum,
                                          double weight_decay, mill_bool centered,
                                          mill_optimizer** out_optimizer, mill_error* err) {
  return guard("mill_optimizer_create_rmsprop", err, [&] {
    clear_out(out_optimizer, 8, "out_optimizer");
    mill_optimizer::Options options;
    options.rule = mill_optimizer::Rule::rmsprop;
    options.rate = rate;
    options.alpha = alpha;
    options.eps = eps;
    options.momentum = momentum;
    options.weight_decay = weight_decay;
    options.centered = centered != 0;
    *out_optimizer = create(exec, group, options);
  });
}

mill_status mill_optimizer_create_adagrad(mill_exec* exec, mill_group* group, double rate,
                                          double rate_decay, double initial, double eps,
                                          double weight_decay, mill_optimizer** out_optimizer,
                                          mill_error* err) {
  return guard("mill_optimizer_create_adagrad", err, [&] {
    clear_out(out_optimizer, 7, "out_optimizer");
    mill_optimizer::Options options;
    options.rule = mill_optimizer::Rule::adagrad;
    options.rate = rate;
    options.rate_decay = rate_decay;
    options.initial = initial;
    options.eps = eps;
    options.weight_decay = weight_decay;
    *out_optimizer = create(exec, group, options);
  });
}

mill_status mill_optimizer_create_lion(mill_exec* exec, mill_group* group, double rate,
                                       double beta1, double beta2, double weight_decay,
                                       mill_optimizer** out_optimizer, mill_error* err) {
  return guard("mill_optimizer_create_lion", err, [&] {
    clear_out(out_optimizer, 6, "out_optimizer");
    mill_optimizer::Options options;
    options.rule = mill_optimizer::Rule::lion;
    options.rate = rate;
    options.beta1 = beta1;
    options.beta2 = beta2;
    options.weight_decay = weight_decay;
    *out_optimizer = create(exec, group, options);
  });
}

void mill_optimizer_retain(mill_optimizer* optimizer) {
  if (valid(optimizer, HandleKind::optimizer)) retain(optimizer);
}

void mill_optimizer_release(mill_optimizer* optimizer) {
  if (valid(optimizer, HandleKind::optimizer)) release(optimizer);
}

mill_status mill_optimizer_step(mill_optimizer* optimizer, mill_exec* exec, mill_error* err) {
  return guard("mill_optimizer_step", err, [&] {
    mill_optimizer& o = need_optimizer(optimizer);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    o.step(e);
  });
}

mill_status mill_optimizer_set_rate(mill_optimizer* optimizer, mill_exec* exec, double rate,
                                    mill_error* err) {
  return guard("mill_optimizer_set_rate", err, [&] {
    mill_optimizer& o = need_optimizer(optimizer);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    check_same_device(e, *o.rate, 0, "optimizer");
    o.set_rate(e, rate);
  });
}

mill_status mill_optimizer_set_schedule(mill_optimizer* optimizer, int32_t shape, int64_t warmup,
                                        int64_t total, double floor, mill_error* err) {
  return guard("mill_optimizer_set_schedule", err, [&] {
    mill_optimizer& o = need_optimizer(optimizer);
    if (shape != MILL_SCHEDULE_CONSTANT && shape != MILL_SCHEDULE_COSINE)
      fail_argument(MILL_E_ARG, 1, "shape is %d, it must be 0 (constant) or 1 (cosine)", shape);
    mill_optimizer::Schedule schedule;
    schedule.shape = shape;
    schedule.warmup = warmup;
    schedule.total = total;
    schedule.floor = floor;
    o.set_schedule(schedule);
  });
}

mill_status mill_optimizer_set_schedule_shape(mill_optimizer* optimizer, int32_t shape,
                                              int64_t warmup, int64_t total, double floor,
                                              double start, int64_t period, double factor,
                                              mill_error* err) {
  return guard("mill_optimizer_set_schedule_shape", err, [&] {
    mill_optimizer& o = need_optimizer(optimizer);
    if (shape < MILL_SCHEDULE_CONSTANT || shape > MILL_SCHEDULE_INVERSE_ROOT) {
      fail_argument(MILL_E_ARG, 1, "shape is %d, shapes are %d to %d", shape,
                    MILL_SCHEDULE_CONSTANT, MILL_SCHEDULE_INVERSE_ROOT);
    }
    o.set_schedule({shape, warmup, total, floor, start, period, factor});
  });
}

mill_status mill_optimizer_set_clip_norm(mill_optimizer* optimizer, double max_norm,
                                         mill_error* err) {
  return guard("mill_optimizer_set_clip_norm", err,
               [&] { need_optimizer(optimizer).set_clip_norm(max_norm); });
}

mill_status mill_optimizer_set_clip_value(mill_optimizer* optimizer, double limit,
                                          mill_error* err) {
  return guard("mill_optimizer_set_clip_value", err,
               [&] { need_optimizer(optimizer).set_clip_value(limit); });
}

mill_status mill_optimizer_set_gradient_scale(mill_optimizer* optimizer, double scale,
                                              mill_error* err) {
  return guard("mill_optimizer_set_gradient_scale", err,
               [&] { need_optimizer(optimizer).set_gradient_scale(scale); });
}

mill_status mill_optimizer_set_dampening(mill_optimizer* optimizer, double dampening,
                                         mill_error* err) {
  return guard("mill_optimizer_set_dampening", err,
               [&] { need_optimizer(optimizer).set_dampening(dampening); });
}

mill_status mill_optimizer_set_param_options(mill_optimizer* optimizer, mill_exec* exec,
                                             uint32_t index, double rate_factor,
                                             double weight_decay, mill_error* err) {
  return guard("mill_optimizer_set_param_options", err, [&] {
    mill_optimizer& o = need_optimizer(optimizer);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    check_same_device(e, *o.rate, 0, "optimizer");
    static_cast<void>(need_param(*o.group, index, 2));
    o.set_param_options(e, index, rate_factor, weight_decay);
  });
}

mill_status mill_optimizer_set_ema(mill_optimizer* optimizer, mill_exec* exec, double decay,
                                   mill_bool warm_up, mill_error* err) {
  return guard("mill_optimizer_set_ema", err, [&] {
    mill_optimizer& o = need_optimizer(optimizer);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    check_same_device(e, *o.rate, 0, "optimizer");
    o.set_ema(e, decay, warm_up != 0);
  });
}

mill_status mill_optimizer_ema(mill_optimizer* optimizer, uint32_t index, mill_tensor** out_tensor,
                               mill_error* err) {
  return guard("mill_optimizer_ema", err, [&] {
    clear_out(out_tensor, 2, "out_tensor");
    const mill_optimizer& o = need_optimizer(optimizer);
    const mill_group::Param& param = need_param(*o.group, index, 1);
    if (!o.ema) fail(MILL_E_STATE, "there are no averages, mill_optimizer_set_ema begins them");
    *out_tensor = state_of(param, o.ema.get()).release();
  });
}

mill_status mill_optimizer_swap_ema(mill_optimizer* optimizer, mill_exec* exec, mill_error* err) {
  return guard("mill_optimizer_swap_ema", err, [&] {
    mill_optimizer& o = need_optimizer(optimizer);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    check_same_device(e, *o.rate, 0, "optimizer");
    o.swap_ema(e);
  });
}

mill_status mill_optimizer_set_loss_scale(mill_optimizer* optimizer, mill_exec* exec,
                                          double initial, double growth, double backoff,
                                          int64_t interval, mill_error* err) {
  return guard("mill_optimizer_set_loss_scale", err, [&] {
    mill_optimizer& o = need_optimizer(optimizer);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    check_same_device(e, *o.rate, 0, "optimizer");
    o.set_loss_scale(e, initial, growth, backoff, interval);
  });
}

mill_status mill_optimizer_loss_scale(mill_optimizer* optimizer, mill_tensor** out_scale,
                                      mill_error* err) {
  return guard("mill_optimizer_loss_scale", err, [&] {
    clear_out(out_scale, 1, "out_scale");
    const mill_optimizer& o = need_optimizer(optimizer);
    if (!o.scales_loss()) fail(MILL_E_STATE, "loss scaling is off, there is no scale");
    *out_scale = TensorRef(o.scale).release();
  });
}

mill_status mill_optimizer_rate(mill_optimizer* optimizer, mill_tensor** out_rate,
                                mill_error* err) {
  return guard("mill_optimizer_rate", err, [&] {
    clear_out(out_rate, 1, "out_rate");
    *out_rate = TensorRef(need_optimizer(optimizer).rate).release();
  });
}

mill_status mill_optimizer_norm(mill_optimizer* optimizer, mill_tensor** out_norm,
                                mill_error* err) {
  return guard("mill_optimizer_norm", err, [&] {
    clear_out(out_norm, 1, "out_norm");
    const mill_optimizer& o = need_optimizer(optimizer);
    if (!o.takes_norm()) {
      fail(MILL_E_STATE, "clipping and loss scaling are off, the gradient norm is not computed");
    }
    *out_norm = TensorRef(o.norm).release();
  });
}

mill_status mill_optimizer_steps(mill_optimizer* optimizer, int64_t* out_steps, mill_error* err) {
  return guard("mill_optimizer_steps", err, [&] {
    need_out(out_steps, 1, "out_steps") = 0;
    *out_steps = need_optimizer(optimizer).steps();
  });
}
