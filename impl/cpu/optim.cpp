// Optimizer steps as one pass over flat buffers, the norm of a list of gradients, clipping,
// schedules and counters. Rate, step and clip factor are tensors of one element, read here.
#include "cpu/update_loops.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// Master: f32 weights beside 16-bit parameters, which become their rounded copy.
template <class S, bool Master>
mill_status sgd_step(const mill_kernel_args* args) {
  using C = Compute<S>;  // also the dtype of velocity and master
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  if (skips(input(args, 4))) {
    keep(args->in[0], args->out[0]);
    keep(input(args, 2), output(args, 1));
    if constexpr (Master) keep(args->in[5], args->out[2]);
    return MILL_OK;
  }
  using P = std::conditional_t<Master, C, S>;
  const P* param = data_of<const P>(args->in[Master ? 5 : 0]);
  const S* grad = data_of<const S>(args->in[1]);
  const C* velocity = data_of<const C>(input(args, 2));
  S* param_out = data_of<S>(args->out[0]);
  C* velocity_out = data_of<C>(output(args, 1));
  C* master_out = Master ? data_of<C>(args->out[2]) : nullptr;
  const V rate = hn::Set(d, static_cast<C>(read_stat(args->in[3])));
  const V clip = hn::Set(d, static_cast<C>(stat_or_one(input(args, 4))));
  const V momentum = hn::Set(d, static_cast<C>(args->attr[0].f));
  const V decay = hn::Set(d, static_cast<C>(args->attr[1].f));
  const bool nesterov = args->attr[2].i != 0;
  const auto finish = [=](V p, int64_t i, auto part) MILL_LAMBDA_INLINE {
    if constexpr (Master) put(d, p, master_out + i, part);
    put(d, p, param_out + i, part);
  };
  if (velocity == nullptr) {
    each_parallel(args, d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
      const V p = get(d, param + i, part);
      const V g = hn::MulAdd(decay, p, hn::Mul(get(d, grad + i, part), clip));
      finish(hn::NegMulAdd(rate, g, p), i, part);
    });
    return MILL_OK;
  }
  each_parallel(args, d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V p = get(d, param + i, part);
    const V g = hn::MulAdd(decay, p, hn::Mul(get(d, grad + i, part), clip));
    const V v = hn::MulAdd(momentum, get(d, velocity + i, part), g);
    if (velocity_out != nullptr) put(d, v, velocity_out + i, part);
    const V direction = nesterov ? hn::MulAdd(momentum, v, g) : v;
    finish(hn::NegMulAdd(rate, direction, p), i, part);
  });
  return MILL_OK;
}

template <class S, bool Master>
mill_status adamw_step(const mill_kernel_args* args) {
  using C = Compute<S>;  // also the dtype of the moments and of master
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  if (skips(input(args, 6))) {
    keep(args->in[0], args->out[0]);
    keep(args->in[2], args->out[1]);
    keep(args->in[3], args->out[2]);
    if constexpr (Master) keep(args->in[7], args->out[3]);
    return MILL_OK;
  }
  using P = std::conditional_t<Master, C, S>;
  const P* param = data_of<const P>(args->in[Master ? 7 : 0]);
  const S* grad = data_of<const S>(args->in[1]);
  const C* m = data_of<const C>(args->in[2]);
  const C* v = data_of<const C>(args->in[3]);
  S* param_out = data_of<S>(args->out[0]);
  C* m_out = data_of<C>(args->out[1]);
  C* v_out = data_of<C>(args->out[2]);
  C* master_out = Master ? data_of<C>(args->out[3]) : nullptr;
  const double rate = read_stat(args->in[4]);
  const double step = static_cast<double>(*data_of<const int64_t>(args->in[5]));
  const double beta1 = args->attr[0].f;
  const double beta2 = args->attr[1].f;
  // Scalars in f64: 1 - beta^step cancels in f32.
  const double correction1 = 1 - std::pow(beta1, step);
  const double correction2 = 1 - std::pow(beta2, step);
  const V clip = hn::Set(d, static_cast<C>(stat_or_one(input(args, 6))));
  const V keep1 = hn::Set(d, static_cast<C>(beta1));
  const V take1 = hn::Set(d, static_cast<C>(1 - beta1));
  const V keep2 = hn::Set(d, static_cast<C>(beta2));
  const V take2 = hn::Set(d, static_cast<C>(1 - beta2));
  const V shrink = hn::Set(d, static_cast<C>(1 - rate * args->attr[3].f));
  const V scale2 = hn::Set(d, static_cast<C>(1 / std::sqrt(correction2)));
  const V eps = hn::Set(d, static_cast<C>(args->attr[2].f));
  const V size = hn::Set(d, static_cast<C>(rate / correction1));
  each_parallel(args, d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V g = hn::Mul(get(d, grad + i, part), clip);
    const V first = hn::MulAdd(keep1, get(d, m + i, part), hn::Mul(take1, g));
    const V second = hn::MulAdd(keep2, get(d, v + i, part), hn::Mul(take2, hn::Mul(g, g)));
    const V root = hn::MulAdd(hn::Sqrt(second), scale2, eps);
    const V shrunk = hn::Mul(get(d, param + i, part), shrink);
    put(d, first, m_out + i, part);
    put(d, second, v_out + i, part);
    const V p = hn::NegMulAdd(size, hn::Div(first, root), shrunk);
    if constexpr (Master) put(d, p, master_out + i, part);
    put(d, p, param_out + i, part);
  });
  return MILL_OK;
}

// ---- norm and clipping --------------------------------------------------------------------------

constexpr int64_t kNormChunk = 32768;

int64_t norm_chunks(const mill_kernel_args* args) {
  int64_t chunks = 0;
  for (uint32_t k = 0; k < args->n_in; ++k) chunks += ceil_div(args->in[k]->numel, kNormChunk);
  return chunks;
}

uint64_t squared_norm_workspace(const mill_kernel_args* args) {
  return static_cast<uint64_t>(norm_chunks(args)) * sizeof(double);
}

template <class S>
__attribute__((noinline)) double sum_of_squares(const S* x, int64_t n) {
  const Tag<Compute<S>> d;
  return sum_terms(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const auto value = get(d, x + i, part);
    return hn::Mul(value, value);
  });
}

double squares_of(const mill_kernel_tensor* t, int64_t begin, int64_t end) {
  switch (t->dtype) {
    case MILL_F64: return sum_of_squares(static_cast<const double*>(t->data) + begin, end - begin);
    case MILL_BF16: return sum_of_squares(static_cast<const bf16*>(t->data) + begin, end - begin);
    case MILL_F16: return sum_of_squares(static_cast<const f16*>(t->data) + begin, end - begin);
    default: return sum_of_squares(static_cast<const float*>(t->data) + begin, end - begin);
  }
}

mill_status squared_norm(const mill_kernel_args* args) {
  for (uint32_t k = 0; k < args->n_in; ++k) {
    if ((bit(args->in[k]->dtype) & kFloatBits) == 0) {
      return refuse(args, MILL_E_DTYPE, "input %u has dtype number %d, which is no float it reads",
                    k, args->in[k]->dtype);
    }
  }
  const uint64_t needed = squared_norm_workspace(args);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  double* partial = static_cast<double*>(args->workspace);
  const int64_t chunks = norm_chunks(args);
  parallel(args, chunks, 1, [=](int64_t begin, int64_t end) {
    uint32_t k = 0;
    int64_t before = 0;  // chunks of the tensors before k
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      while (chunk - before >= ceil_div(args->in[k]->numel, kNormChunk)) {
        before += ceil_div(args->in[k]->numel, kNormChunk);
        ++k;
      }
      const int64_t first = (chunk - before) * kNormChunk;
      partial[chunk] =
          squares_of(args->in[k], first, smaller(first + kNormChunk, args->in[k]->numel));
    }
  });
  double total = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk];
  write_stat(args->out[0], 0, total);
  return MILL_OK;
}

mill_status clip_factor(const mill_kernel_args* args) {
  const double norm = std::sqrt(read_stat(args->in[0]));
  const double factor = args->attr[0].f / (norm + 1e-6);
  // A NaN norm gives a NaN factor, as in PyTorch.
  write_stat(args->out[0], 0, factor > 1 ? 1 : factor);
  const mill_kernel_tensor* norm_out = output(args, 1);
  if (norm_out != nullptr) write_stat(norm_out, 0, norm);
  return MILL_OK;
}

// ---- loss scaling -------------------------------------------------------------------------------

mill_status scaler_update(const mill_kernel_args* args) {
  constexpr double kLeast = 0x1p-24;
  constexpr double kMost = 0x1p24;
  const double squared = read_stat(args->in[0]);
  double scale = read_stat(args->in[1]);
  int64_t streak = *data_of<const int64_t>(args->in[2]);
  int64_t step = *data_of<const int64_t>(args->in[3]);
  const double max_norm = args->attr[3].f;
  const double norm = std::sqrt(squared) / scale;
  double factor = -1;
  if (std::isfinite(squared)) {
    const double clip = max_norm > 0 ? max_norm / (norm + 1e-6) : 1;
    factor = (clip > 1 ? 1 : clip) / scale;
    step = static_cast<int64_t>(static_cast<uint64_t>(step) + 1);
    streak = static_cast<int64_t>(static_cast<uint64_t>(streak) + 1);
    if (streak >= args->attr[2].i) {
      scale = scale * args->attr[0].f < kMost ? scale * args->attr[0].f : kMost;
      streak = 0;
    }
  } else {
    scale = scale * args->attr[1].f > kLeast ? scale * args->attr[1].f : kLeast;
    streak = 0;
  }
  write_stat(args->out[0], 0, factor);
  write_stat(args->out[1], 0, norm);
  write_stat(args->out[2], 0, scale);
  *data_of<int64_t>(args->out[3]) = streak;
  *data_of<int64_t>(args->out[4]) = step;
  return MILL_OK;
}

// ---- schedules ----------------------------------------------------------------------------------

mill_status schedule(const mill_kernel_args* args) {
  const int64_t step = *data_of<const int64_t>(args->in[0]);
  const double base = read_stat(args->in[1]);
  const int64_t shape = args->attr[0].i;
  const int64_t warmup = args->attr[1].i;
  const int64_t total = args->attr[2].i;
  const double floor = args->attr[3].f;
  double rate = base;
  if (step <= warmup && warmup > 0) {
    rate = base * (static_cast<double>(step) / static_cast<double>(warmup));
  } else if (shape == 1) {
    const double length = static_cast<double>(total - warmup);
    const double done = static_cast<double>(step - warmup);
    const double progress = done >= length ? 1 : done / length;
    constexpr double kPi = 3.14159265358979323846;
    rate = base * (floor + (1 - floor) * 0.5 * (1 + std::cos(kPi * progress)));
  }
  write_stat(args->out[0], 0, rate);
  return MILL_OK;
}

mill_status increment(const mill_kernel_args* args) {
  const int64_t* x = data_of<const int64_t>(args->in[0]);
  int64_t* out = data_of<int64_t>(args->out[0]);
  for (int64_t i = 0; i < args->out[0]->numel; ++i) {
    out[i] = static_cast<int64_t>(static_cast<uint64_t>(x[i]) + 1);
  }
  return MILL_OK;
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_SGD_STEP, bit(MILL_F32), {sgd_step<float, false>, nullptr}},
    {MILL_OP_SGD_STEP, bit(MILL_F64), {sgd_step<double, false>, nullptr}},
    {MILL_OP_SGD_STEP, bit(MILL_BF16), {sgd_step<bf16, false>, nullptr}},
    {MILL_OP_SGD_STEP, bit(MILL_F16), {sgd_step<f16, false>, nullptr}},
    {MILL_OP_SGD_MASTER_STEP, bit(MILL_BF16), {sgd_step<bf16, true>, nullptr}},
    {MILL_OP_SGD_MASTER_STEP, bit(MILL_F16), {sgd_step<f16, true>, nullptr}},
    {MILL_OP_ADAMW_STEP, bit(MILL_F32), {adamw_step<float, false>, nullptr}},
    {MILL_OP_ADAMW_STEP, bit(MILL_F64), {adamw_step<double, false>, nullptr}},
    {MILL_OP_ADAMW_STEP, bit(MILL_BF16), {adamw_step<bf16, false>, nullptr}},
    {MILL_OP_ADAMW_STEP, bit(MILL_F16), {adamw_step<f16, false>, nullptr}},
    {MILL_OP_ADAMW_MASTER_STEP, bit(MILL_BF16), {adamw_step<bf16, true>, nullptr}},
    {MILL_OP_ADAMW_MASTER_STEP, bit(MILL_F16), {adamw_step<f16, true>, nullptr}},
    {MILL_OP_SQUARED_NORM, kFloatBits, {squared_norm, squared_norm_workspace}},
    {MILL_OP_CLIP_FACTOR, bit(MILL_F32) | bit(MILL_F64), {clip_factor, nullptr}},
    {MILL_OP_SCALER_UPDATE, bit(MILL_F32) | bit(MILL_F64), {scaler_update, nullptr}},
    {MILL_OP_SCHEDULE, bit(MILL_I64), {schedule, nullptr}},
    {MILL_OP_INCREMENT, bit(MILL_I64), {increment, nullptr}},
};

}  // namespace

KernelList optim_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
