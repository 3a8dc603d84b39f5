// Optimizer steps over flat buffers, the norm of a list of gradients, clipping, schedules and
// counters. Rate, step and clip factor stay on the device.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/rows.inl"
//
#include "kernels/block/circle.inl"
//
#include "kernels/block/optim.inl"
//
#include "gpu/families/adamw.h"

const void* stat_data(const mill_kernel_tensor* t) {
  return t ? t->data : nullptr;
}
bool is_double(const mill_kernel_tensor* t) {
  return t && t->dtype == MILL_F64;
}
// call.operator()<C>() for the type of a tensor of rates, norms or factors.
template <class F>
mill_status with_stat(const mill_kernel_tensor* t, F&& call) {
  if (is_double(t)) return call.template operator()<double>();
  return call.template operator()<float>();
}

// ---- steps --------------------------------------------------------------------------------------

template <class S, bool Momentum, bool Master>
mill_status sgd_as(const mill_kernel_args* args) {
  using C = acc_t<S>;
  constexpr int W = static_cast<int>(16 / sizeof(S));
  const mill_kernel_tensor* rate = args->in[3];
  const mill_kernel_tensor* clip = input(args, 4);
  const int64_t n = args->in[0]->numel;
  const auto* param = data_of<const S>(args->in[0]);
  const auto* grad = data_of<const S>(args->in[1]);
  const auto* velocity = data_of<const C>(input(args, 2));
  auto* param_out = data_of<S>(args->out[0]);
  auto* velocity_out = data_of<C>(output(args, 1));
  const auto* master = Master ? data_of<const C>(input(args, 5)) : nullptr;
  auto* master_out = Master ? data_of<C>(output(args, 2)) : nullptr;
  const sgd_options options{args->attr[0].f, args->attr[1].f, args->attr[2].i != 0, is_double(rate),
                            is_double(clip)};
  const uint64_t weights =
      Master ? bytes_of(args->in[0]) + 2 * bytes_of(input(args, 5)) : 2 * bytes_of(args->in[0]);
  const cost c{
      weights + bytes_of(args->in[1]) + bytes_of(input(args, 2)) + bytes_of(output(args, 1)),
      6 * static_cast<uint64_t>(n), sizeof(C) == 8 ? unit::f64 : unit::f32};
  const shape grid{blocks_for(ceil_div(n, W)), kThreads};
  if (aligned(param, 16) && aligned(grad, 16) && aligned(velocity, 16) && aligned(param_out, 16) &&
      aligned(velocity_out, 16) && aligned(master, 16) && aligned(master_out, 16)) {
    return launch<sgd_update<kThreads, W, Momentum, Master, S>>(
        args, grid, c, options, n, param, grad, velocity, master, stat_data(rate), stat_data(clip),
        param_out, velocity_out, master_out);
  }
  return launch<sgd_update<kThreads, 1, Momentum, Master, S>>(
      args, grid, c, options, n, param, grad, velocity, master, stat_data(rate), stat_data(clip),
      param_out, velocity_out, master_out);
}

inline constexpr uint32_t kHalfBits = mill::dtype_bit(MILL_F16) | mill::dtype_bit(MILL_BF16);
template <class F>
mill_status with_half(int32_t dtype, F&& call) {
  if (dtype == MILL_F16) return call.template operator()<f16>();
  return call.template operator()<bf16>();
}

mill_status sgd_step(const mill_kernel_args* args) {
  if (args->in[0]->numel == 0) return MILL_OK;
  return with_float(args->in[0]->dtype, [&]<class S>() {
    return input(args, 2) ? sgd_as<S, true, false>(args) : sgd_as<S, false, false>(args);
  });
}

mill_status sgd_master_step(const mill_kernel_args* args) {
  if (args->in[0]->numel == 0) return MILL_OK;
  return with_half(args->in[0]->dtype, [&]<class S>() {
    return input(args, 2) ? sgd_as<S, true, true>(args) : sgd_as<S, false, true>(args);
  });
}

template <bool Master, class S>
mill_status adamw_as(const mill_kernel_args* args) {
  using C = acc_t<S>;
  const mill_kernel_tensor* rate = args->in[4];
  const mill_kernel_tensor* clip = input(args, 6);
  const adamw_options options{args->attr[0].f, args->attr[1].f, args->attr[2].f,
                              args->attr[3].f, is_double(rate), is_double(clip)};
  const adamw_scalars scalars{rate->data, data_of<const int64_t>(args->in[5]), stat_data(clip)};
  adamw_table<S, 1> table{};
  table.count = 1;
  table.tensor[0] = {{data_of<const S>(args->in[0])},
                     {data_of<const S>(args->in[1])},
                     {data_of<const C>(args->in[2])},
                     {data_of<const C>(args->in[3])},
                     {Master ? data_of<const C>(input(args, 7)) : nullptr},
                     {data_of<S>(args->out[0])},
                     {data_of<C>(args->out[1])},
                     {data_of<C>(args->out[2])},
                     {Master ? data_of<C>(output(args, 3)) : nullptr},
                     args->in[0]->numel,
                     0};
  return adamw_launch<Master>(args, options, scalars, &table);
}

mill_status adamw_step(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class S>() { return adamw_as<false, S>(args); });
}

mill_status adamw_master_step(const mill_kernel_args* args) {
  return with_half(args->in[0]->dtype, [&]<class S>() { return adamw_as<true, S>(args); });
}

// ---- norm and clipping --------------------------------------------------------------------------

constexpr int64_t kLeastNormChunk = 2048;
constexpr int64_t kMostNormChunk = 32768;

// Follows from the sizes: eight blocks for each of 132 multiprocessors where that is not too few
// elements, and chains short enough for f32.
struct NormPlan {
  int64_t chunk;
  int64_t blocks = 0;
  uint64_t bytes = 0;  // read

  explicit NormPlan(const mill_kernel_args* args) {
    int64_t elements = 0;
    for (uint32_t k = 0; k < args->n_in; ++k) elements += args->in[k]->numel;
    const int64_t share = ceil_div(ceil_div(elements, 132 * 8), kLeastNormChunk) * kLeastNormChunk;
    chunk = larger(kLeastNormChunk, smaller(kMostNormChunk, share));
    for (uint32_t k = 0; k < args->n_in; ++k) {
      blocks += ceil_div(args->in[k]->numel, chunk);
      bytes += bytes_of(args->in[k]);
    }
  }
};

uint64_t squared_norm_workspace(const mill_kernel_args* args) {
  return static_cast<uint64_t>(NormPlan(args).blocks) * sizeof(double);
}

mill_status squared_norm(const mill_kernel_args* args) {
  for (uint32_t k = 0; k < args->n_in; ++k) {
    if ((mill::dtype_bit(args->in[k]->dtype) & kFloatBits) == 0) {
      return refuse(args, MILL_E_DTYPE, "input %u has dtype number %d, which is no float it reads",
                    k, args->in[k]->dtype);
    }
  }
  if (args->n_in > MILL_MAX_OP_INPUTS) {
    return refuse(args, MILL_E_ARG, "there are %u inputs, the limit is %d", args->n_in,
                  static_cast<int>(MILL_MAX_OP_INPUTS));
  }
  const NormPlan plan(args);
  const uint64_t needed = static_cast<uint64_t>(plan.blocks) * sizeof(double);
  if (args->workspace_bytes < needed) {
    return refuse(args, MILL_E_INTERNAL, "the kernel needs %llu bytes of workspace and got %llu",
                  static_cast<unsigned long long>(needed),
                  static_cast<unsigned long long>(args->workspace_bytes));
  }
  auto* partial = static_cast<double*>(args->workspace);
  if (plan.blocks > 0) {
    norm_table table{};
    table.chunk = plan.chunk;
    bool doubles = false;
    int64_t block = 0;
    for (uint32_t k = 0; k < args->n_in; ++k) {
      const mill_kernel_tensor* x = args->in[k];
      doubles = doubles || x->dtype == MILL_F64;
      if (x->numel == 0) continue;
      table.tensor[table.count++] = {
          {data_of<const unsigned char>(x)}, x->numel, block, x->dtype, aligned(x->data, 16)};
      block += ceil_div(x->numel, plan.chunk);
    }
    const mill_status status = launch<squares_part<kThreads>>(
        args, {plan.blocks, kThreads},
        cost{plan.bytes + needed, 2 * plan.bytes / (doubles ? sizeof(double) : sizeof(float)),
             doubles ? unit::f64 : unit::f32},
        table, partial);
    if (status != MILL_OK) return status;
  }
  return with_stat(args->out[0], [&]<class C>() {
    return launch<squares_total<kThreads, C>>(
        args, {1, kThreads}, cost{needed, static_cast<uint64_t>(plan.blocks), unit::f64},
        plan.blocks, static_cast<const double*>(partial), data_of<C>(args->out[0]));
  });
}

mill_status clip_factor(const mill_kernel_args* args) {
  return with_stat(args->in[0], [&]<class C>() {
    return launch<clip_factor_of<kWarp, C>>(
        args, {1, kWarp}, cost{3 * sizeof(C)}, args->attr[0].f, data_of<const C>(args->in[0]),
        data_of<C>(output(args, 0)), data_of<C>(output(args, 1)));
  });
}

mill_status scaler_update(const mill_kernel_args* args) {
  const scaler_options options{args->attr[0].f, args->attr[1].f, args->attr[3].f, args->attr[2].i};
  return with_stat(args->in[0], [&]<class C>() {
    return launch<scaler_step<kWarp, C>>(
        args, {1, kWarp}, cost{5 * sizeof(C) + 4 * sizeof(int64_t)}, options,
        data_of<const C>(args->in[0]), data_of<const C>(args->in[1]),
        data_of<const int64_t>(args->in[2]), data_of<const int64_t>(args->in[3]),
        data_of<C>(output(args, 0)), data_of<C>(output(args, 1)), data_of<C>(args->out[2]),
        data_of<int64_t>(args->out[3]), data_of<int64_t>(args->out[4]));
  });
}

// ---- schedules ----------------------------------------------------------------------------------

mill_status schedule(const mill_kernel_args* args) {
  const schedule_options options{args->attr[1].i, args->attr[2].i, args->attr[3].f,
                                 args->attr[0].i == 1};
  return with_stat(args->in[1], [&]<class C>() {
    return launch<scheduled_rate<kWarp, C>>(args, {1, kWarp}, cost{sizeof(int64_t) + 2 * sizeof(C)},
                                            options, data_of<const int64_t>(args->in[0]),
                                            data_of<const C>(args->in[1]),
                                            data_of<C>(args->out[0]));
  });
}

mill_status increment(const mill_kernel_args* args) {
  const int64_t n = args->out[0]->numel;
  if (n == 0) return MILL_OK;
  return launch<increment_elements<kThreads>>(
      args, {blocks_for(n), kThreads}, cost{2 * bytes_of(args->out[0])}, n,
      data_of<const int64_t>(args->in[0]), data_of<int64_t>(args->out[0]));
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_SGD_STEP, kFloatBits, {sgd_step, nullptr}},
    {MILL_OP_ADAMW_STEP, kFloatBits, {adamw_step, nullptr}},
    {MILL_OP_ADAMW_MASTER_STEP, kHalfBits, {adamw_master_step, nullptr}},
    {MILL_OP_SGD_MASTER_STEP, kHalfBits, {sgd_master_step, nullptr}},
    {MILL_OP_SCALER_UPDATE,
     mill::dtype_bit(MILL_F32) | mill::dtype_bit(MILL_F64),
     {scaler_update, nullptr}},
    {MILL_OP_SQUARED_NORM, kFloatBits, {squared_norm, squared_norm_workspace}},
    {MILL_OP_CLIP_FACTOR,
     mill::dtype_bit(MILL_F32) | mill::dtype_bit(MILL_F64),
     {clip_factor, nullptr}},
    {MILL_OP_SCHEDULE, mill::dtype_bit(MILL_I64), {schedule, nullptr}},
    {MILL_OP_INCREMENT, mill::dtype_bit(MILL_I64), {increment, nullptr}},
};

}  // namespace

KernelList optim_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
