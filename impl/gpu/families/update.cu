// The optimizers beside SGD and AdamW over flat buffers, clipping by value, averages of the
// parameters and shapes of schedules. Rate, step and clip factor stay on the device.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/rows.inl"
//
#include "kernels/block/circle.inl"
//
#include "kernels/block/optim.inl"
//
#include "kernels/block/update.inl"

const void* stat_data(const mill_kernel_tensor* t) {
  return t ? t->data : nullptr;
}
bool is_double(const mill_kernel_tensor* t) {
  return t && t->dtype == MILL_F64;
}

template <int W>
shape grid_for(int64_t n) {
  return {blocks_for(ceil_div(n, W)), kThreads};
}

// ---- steps --------------------------------------------------------------------------------------

constexpr uint32_t kNone = 64;

// Which inputs and outputs a step has; kNone for what its rule has not. State k comes from
// state_in[k] and goes to output k + 1.
struct Layout {
  uint32_t state_in[3];
  uint32_t rate;
  uint32_t step;
  uint32_t clip;
  uint32_t master;
  uint32_t master_out;
};

template <class Rule, class S>
mill_status update_as(const mill_kernel_args* args, const Layout& at,
                      typename Rule::options options) {
  using C = acc_t<S>;
  constexpr int W = static_cast<int>(16 / sizeof(S));
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  options.shared.rate_is_double = is_double(input(args, at.rate));
  options.shared.clip_is_double = is_double(input(args, at.clip));
  const auto* param = data_of<const S>(args->in[0]);
  const auto* grad = data_of<const S>(args->in[1]);
  const auto* master = data_of<const C>(input(args, at.master));
  auto* param_out = data_of<S>(args->out[0]);
  auto* master_out = data_of<C>(output(args, at.master_out));
  const C* state[3] = {};
  C* state_out[3] = {};
  bool vectors = aligned(param, 16) && aligned(grad, 16) && aligned(master, 16) &&
                 aligned(param_out, 16) && aligned(master_out, 16);
  uint64_t each = 3 * sizeof(S) + (master ? 2 * sizeof(C) - sizeof(S) : 0);
  for (int k = 0; k < Rule::kStates; ++k) {
    state[k] = data_of<const C>(input(args, at.state_in[k]));
    if (state[k]) state_out[k] = data_of<C>(output(args, static_cast<uint32_t>(k) + 1));
    vectors = vectors && aligned(state[k], 16) && aligned(state_out[k], 16);
    if (state[k]) each += 2 * sizeof(C);
  }
  const auto count = static_cast<uint64_t>(n);
  const cost c{count * each, 16 * count, sizeof(C) == 8 ? unit::f64 : unit::f32};
  const auto* step = data_of<const int64_t>(input(args, at.step));
  const void* rate = stat_data(input(args, at.rate));
  const void* clip = stat_data(input(args, at.clip));
  if (vectors) {
    return launch<rule_update<kThreads, W, Rule, S>>(
        args, grid_for<W>(n), c, options, n, rate, step, clip, param, grad, state[0], state[1],
        state[2], master, param_out, state_out[0], state_out[1], state_out[2], master_out);
  }
  return launch<rule_update<kThreads, 1, Rule, S>>(
      args, grid_for<W>(n), c, options, n, rate, step, clip, param, grad, state[0], state[1],
      state[2], master, param_out, state_out[0], state_out[1], state_out[2], master_out);
}

template <class Rule>
mill_status update_by(const mill_kernel_args* args, const Layout& at,
                      const typename Rule::options& options) {
  return with_float(args->in[0]->dtype,
                    [&]<class S>() { return update_as<Rule, S>(args, at, options); });
}

mill_status adam_step(const mill_kernel_args* args) {
  const mill_attr* a = args->attr;
  return update_by<adam_rule>(
      args, {{2, 3, 4}, 5, 6, 7, 8, 4},
      {{a[3].f, false, false}, a[0].f, a[1].f, a[2].f, a[4].i != 0, input(args, 4) != nullptr});
}

mill_status rmsprop_step(const mill_kernel_args* args) {
  const mill_attr* a = args->attr;
  return update_by<rmsprop_rule>(args, {{2, 3, 4}, 5, kNone, 6, 7, 4},
                                 {{a[3].f, false, false},
                                  a[0].f,
                                  a[1].f,
                                  a[2].f,
                                  input(args, 3) != nullptr,
                                  input(args, 4) != nullptr});
}

mill_status adagrad_step(const mill_kernel_args* args) {
  const mill_attr* a = args->attr;
  return update_by<adagrad_rule>(args, {{2, kNone, kNone}, 3, 4, 5, 6, 2},
                                 {{a[2].f, false, false}, a[0].f, a[1].f});
}

mill_status lion_step(const mill_kernel_args* args) {
  const mill_attr* a = args->attr;
  return update_by<lion_rule>(args, {{2, kNone, kNone}, 3, kNone, 4, 5, 2},
                              {{a[2].f, false, false}, a[0].f, a[1].f});
}

mill_status momentum_step(const mill_kernel_args* args) {
  const mill_attr* a = args->attr;
  return update_by<momentum_rule>(args, {{2, kNone, kNone}, 3, 4, 5, 6, 2},
                                  {{a[2].f, false, false}, a[0].f, a[1].f, a[3].i != 0});
}

// ---- clipping by value and averages -------------------------------------------------------------

template <class S>
mill_status clamp_as(const mill_kernel_args* args) {
  using C = acc_t<S>;
  constexpr int W = static_cast<int>(16 / sizeof(S));
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  const mill_kernel_tensor* scale = input(args, 1);
  const auto* grad = data_of<const S>(args->in[0]);
  auto* out = data_of<S>(args->out[0]);
  const clamp_options options{args->attr[0].f, is_double(scale)};
  const cost c{2 * bytes_of(args->in[0]), 2 * static_cast<uint64_t>(n),
               sizeof(C) == 8 ? unit::f64 : unit::f32};
  if (aligned(grad, 16) && aligned(out, 16)) {
    return launch<clamp_elements<kThreads, W, S>>(args, grid_for<W>(n), c, options, n, grad,
                                                  stat_data(scale), out);
  }
  return launch<clamp_elements<kThreads, 1, S>>(args, grid_for<W>(n), c, options, n, grad,
                                                stat_data(scale), out);
}

mill_status clamp_gradient(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class S>() { return clamp_as<S>(args); });
}

template <class S>
mill_status average_as(const mill_kernel_args* args) {
  using C = acc_t<S>;
  constexpr int W = static_cast<int>(16 / sizeof(S));
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  const mill_kernel_tensor* clip = input(args, 3);
  const auto* param = data_of<const S>(args->in[0]);
  const auto* average = data_of<const C>(args->in[1]);
  const auto* step = data_of<const int64_t>(args->in[2]);
  auto* out = data_of<C>(args->out[0]);
  const average_options options{args->attr[0].f, args->attr[1].i != 0, is_double(clip)};
  const cost c{bytes_of(args->in[0]) + 2 * bytes_of(args->in[1]), 3 * static_cast<uint64_t>(n),
               sizeof(C) == 8 ? unit::f64 : unit::f32};
  if (aligned(param, 16) && aligned(average, 16) && aligned(out, 16)) {
    return launch<average_elements<kThreads, W, S>>(args, grid_for<W>(n), c, options, n, param,
                                                    average, step, stat_data(clip), out);
  }
  return launch<average_elements<kThreads, 1, S>>(args, grid_for<W>(n), c, options, n, param,
                                                  average, step, stat_data(clip), out);
}

mill_status average_step(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class S>() { return average_as<S>(args); });
}

// ---- schedules ----------------------------------------------------------------------------------

mill_status rate_schedule(const mill_kernel_args* args) {
  const mill_attr* a = args->attr;
  const rate_options options{
      a[1].i, a[2].i, a[5].i, a[3].f, a[4].f, a[6].f, static_cast<int32_t>(a[0].i)};
  const auto as = [&]<class C>() {
    return launch<shaped_rate<kWarp, C>>(args, {1, kWarp}, cost{sizeof(int64_t) + 2 * sizeof(C)},
                                         options, data_of<const int64_t>(args->in[0]),
                                         data_of<const C>(args->in[1]), data_of<C>(args->out[0]));
  };
  return is_double(args->in[1]) ? as.template operator()<double>()
                                : as.template operator()<float>();
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_ADAM_STEP, kFloatBits, {adam_step, nullptr}},
    {MILL_OP_RMSPROP_STEP, kFloatBits, {rmsprop_step, nullptr}},
    {MILL_OP_ADAGRAD_STEP, kFloatBits, {adagrad_step, nullptr}},
    {MILL_OP_LION_STEP, kFloatBits, {lion_step, nullptr}},
    {MILL_OP_MOMENTUM_STEP, kFloatBits, {momentum_step, nullptr}},
    {MILL_OP_CLAMP_GRADIENT, kFloatBits, {clamp_gradient, nullptr}},
    {MILL_OP_AVERAGE_STEP, kFloatBits, {average_step, nullptr}},
    {MILL_OP_RATE_SCHEDULE, mill::dtype_bit(MILL_I64), {rate_schedule, nullptr}},
};

}  // namespace

KernelList update_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
