// The optimizers beside SGD and AdamW as one pass over flat buffers, clipping by value, averages of
// the parameters and shapes of schedules. Rate, step and clip factor are tensors of one element,
// read here.
#include "cpu/update_loops.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// What all steps have. A step without master begins at the parameters and ends there; with one,
// master is updated and the parameters become its rounded copy.
template <class S>
struct Step {
  using C = Compute<S>;  // also the dtype of state and master
  using D = Tag<C>;
  using V = Vec<D>;

  const S* param;
  const S* grad;
  const C* master;
  S* param_out;
  C* master_out;
  V clip;
  V decay;

  Step(const mill_kernel_args* args, uint32_t clip_in, uint32_t master_in, uint32_t last_out,
       double weight_decay)
      : param(data_of<const S>(args->in[0])),
        grad(data_of<const S>(args->in[1])),
        master(data_of<const C>(input(args, master_in))),
        param_out(data_of<S>(args->out[0])),
        master_out(data_of<C>(output(args, last_out))),
        clip(value(stat_or_one(input(args, clip_in)))),
        decay(value(weight_decay)) {}

  static MILL_INLINE V value(double x) { return hn::Set(D(), static_cast<C>(x)); }

  template <class P>
  MILL_INLINE V weights(int64_t i, P part) const {
    return master == nullptr ? get(D(), param + i, part) : get(D(), master + i, part);
  }
  template <class P>
  MILL_INLINE V gradient(int64_t i, P part) const {
    return hn::Mul(get(D(), grad + i, part), clip);
  }
  template <class P>
  MILL_INLINE V decayed_gradient(V p, int64_t i, P part) const {
    return hn::MulAdd(decay, p, gradient(i, part));
  }
  template <class P>
  MILL_INLINE void finish(V p, int64_t i, P part) const {
    if (master_out != nullptr) put(D(), p, master_out + i, part);
    put(D(), p, param_out + i, part);
  }
};

// Input and output of one state.
struct Pair {
  uint32_t in;
  uint32_t out;
};

template <size_t N>
void keep_all(const mill_kernel_args* args, const Pair (&pairs)[N]) {
  for (const Pair& pair : pairs) keep(input(args, pair.in), output(args, pair.out));
}

template <class T>
T* state_in(const mill_kernel_args* args, uint32_t k) {
  return data_of<T>(input(args, k));
}
template <class T>
T* state_out(const mill_kernel_args* args, uint32_t k) {
  return data_of<T>(output(args, k));
}

double step_of(const mill_kernel_tensor* t) {
  return static_cast<double>(*data_of<const int64_t>(t));
}

template <class S>
mill_status adam_step(const mill_kernel_args* args) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  if (skips(input(args, 7))) {
    keep_all(args, {{0, 0}, {2, 1}, {3, 2}, {4, 3}, {8, 4}});
    return MILL_OK;
  }
  const double beta1 = args->attr[0].f;
  const double beta2 = args->attr[1].f;
  const bool decoupled = args->attr[4].i != 0;
  const double rate = read_stat(args->in[5]);
  const double count = step_of(args->in[6]);
  const Step<S> step(args, 7, 8, 4, decoupled ? 0 : args->attr[3].f);
  const C* m = state_in<const C>(args, 2);
  const C* v = state_in<const C>(args, 3);
  const C* most = state_in<const C>(args, 4);
  C* m_out = state_out<C>(args, 1);
  C* v_out = state_out<C>(args, 2);
  C* most_out = state_out<C>(args, 3);
  // Scalars in f64: 1 - beta^step cancels in f32.
  const V keep1 = step.value(beta1);
  const V take1 = step.value(1 - beta1);
  const V keep2 = step.value(beta2);
  const V take2 = step.value(1 - beta2);
  const V scale2 = step.value(1 / std::sqrt(1 - std::pow(beta2, count)));
  const V eps = step.value(args->attr[2].f);
  const V size = step.value(rate / (1 - std::pow(beta1, count)));
  const V shrink = step.value(decoupled ? 1 - rate * args->attr[3].f : 1);
  each_parallel(args, d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V p = step.weights(i, part);
    const V g = step.decayed_gradient(p, i, part);
    const V first = hn::MulAdd(keep1, get(d, m + i, part), hn::Mul(take1, g));
    const V second = hn::MulAdd(keep2, get(d, v + i, part), hn::Mul(take2, hn::Mul(g, g)));
    put(d, first, m_out + i, part);
    put(d, second, v_out + i, part);
    V used = second;
    if (most != nullptr) {
      used = hn::Max(get(d, most + i, part), second);
      if (most_out != nullptr) put(d, used, most_out + i, part);
    }
    const V root = hn::MulAdd(hn::Sqrt(used), scale2, eps);
    step.finish(hn::NegMulAdd(size, hn::Div(first, root), hn::Mul(p, shrink)), i, part);
  });
  return MILL_OK;
}

template <class S>
mill_status rmsprop_step(const mill_kernel_args* args) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  if (skips(input(args, 6))) {
    keep_all(args, {{0, 0}, {2, 1}, {3, 2}, {4, 3}, {7, 4}});
    return MILL_OK;
  }
  const Step<S> step(args, 6, 7, 4, args->attr[3].f);
  const C* square = state_in<const C>(args, 2);
  const C* mean = state_in<const C>(args, 3);
  const C* velocity = state_in<const C>(args, 4);
  C* square_out = state_out<C>(args, 1);
  C* mean_out = state_out<C>(args, 2);
  C* velocity_out = state_out<C>(args, 3);
  const V keep_old = step.value(args->attr[0].f);
  const V take = step.value(1 - args->attr[0].f);
  const V eps = step.value(args->attr[1].f);
  const V momentum = step.value(args->attr[2].f);
  const V rate = step.value(read_stat(args->in[5]));
  each_parallel(args, d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V p = step.weights(i, part);
    const V g = step.decayed_gradient(p, i, part);
    V spread = hn::MulAdd(keep_old, get(d, square + i, part), hn::Mul(take, hn::Mul(g, g)));
    put(d, spread, square_out + i, part);
    if (mean != nullptr) {
      const V middle = hn::MulAdd(keep_old, get(d, mean + i, part), hn::Mul(take, g));
      if (mean_out != nullptr) put(d, middle, mean_out + i, part);
      // Below 0 by rounding alone. NaN stays: the second operand is the result then.
      spread = hn::Max(hn::Zero(d), hn::NegMulAdd(middle, middle, spread));
    }
    V direction = hn::Div(g, hn::Add(hn::Sqrt(spread), eps));
    if (velocity != nullptr) {
      direction = hn::MulAdd(momentum, get(d, velocity + i, part), direction);
      if (velocity_out != nullptr) put(d, direction, velocity_out + i, part);
    }
    step.finish(hn::NegMulAdd(rate, direction, p), i, part);
  });
  return MILL_OK;
}

template <class S>
mill_status adagrad_step(const mill_kernel_args* args) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  if (skips(input(args, 5))) {
    keep_all(args, {{0, 0}, {2, 1}, {6, 2}});
    return MILL_OK;
  }
  const Step<S> step(args, 5, 6, 2, args->attr[2].f);
  const C* sum = state_in<const C>(args, 2);
  C* sum_out = state_out<C>(args, 1);
  const V eps = step.value(args->attr[1].f);
  const V rate =
      step.value(read_stat(args->in[3]) / (1 + (step_of(args->in[4]) - 1) * args->attr[0].f));
  each_parallel(args, d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V p = step.weights(i, part);
    const V g = step.decayed_gradient(p, i, part);
    const V all = hn::MulAdd(g, g, get(d, sum + i, part));
    put(d, all, sum_out + i, part);
    step.finish(hn::NegMulAdd(rate, hn::Div(g, hn::Add(hn::Sqrt(all), eps)), p), i, part);
  });
  return MILL_OK;
}

template <class S>
mill_status lion_step(const mill_kernel_args* args) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  if (skips(input(args, 4))) {
    keep_all(args, {{0, 0}, {2, 1}, {5, 2}});
    return MILL_OK;
  }
  const double size = read_stat(args->in[3]);
  const Step<S> step(args, 4, 5, 2, 0);
  const C* m = state_in<const C>(args, 2);
  C* m_out = state_out<C>(args, 1);
  const V keep1 = step.value(args->attr[0].f);
  const V take1 = step.value(1 - args->attr[0].f);
  const V keep2 = step.value(args->attr[1].f);
  const V take2 = step.value(1 - args->attr[1].f);
  const V shrink = step.value(1 - size * args->attr[2].f);
  const V rate = step.value(size);
  const V one = step.value(1);
  const V zero = hn::Zero(d);
  each_parallel(args, d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V g = step.gradient(i, part);
    const V before = get(d, m + i, part);
    const V way = hn::MulAdd(keep1, before, hn::Mul(take1, g));
    // 0 and NaN are their own sign.
    const V sign = hn::IfThenElse(hn::Gt(way, zero), one,
                                  hn::IfThenElse(hn::Lt(way, zero), hn::Neg(one), way));
    put(d, hn::MulAdd(keep2, before, hn::Mul(take2, g)), m_out + i, part);
    step.finish(hn::NegMulAdd(rate, sign, hn::Mul(step.weights(i, part), shrink)), i, part);
  });
  return MILL_OK;
}

template <class S>
mill_status momentum_step(const mill_kernel_args* args) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  if (skips(input(args, 5))) {
    keep_all(args, {{0, 0}, {2, 1}, {6, 2}});
    return MILL_OK;
  }
  const Step<S> step(args, 5, 6, 2, args->attr[2].f);
  const bool first = *data_of<const int64_t>(args->in[4]) == 1;
  const bool nesterov = args->attr[3].i != 0;
  const C* velocity = state_in<const C>(args, 2);
  C* velocity_out = state_out<C>(args, 1);
  const V momentum = step.value(args->attr[0].f);
  // At the first step nothing is kept and all is taken.
  const V keep_old = step.value(first ? 0 : args->attr[0].f);
  const V take = step.value(first ? 1 : 1 - args->attr[1].f);
  const V rate = step.value(read_stat(args->in[3]));
  each_parallel(args, d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V p = step.weights(i, part);
    const V g = step.decayed_gradient(p, i, part);
    const V v = hn::MulAdd(keep_old, get(d, velocity + i, part), hn::Mul(take, g));
    put(d, v, velocity_out + i, part);
    const V direction = nesterov ? hn::MulAdd(momentum, v, g) : v;
    step.finish(hn::NegMulAdd(rate, direction, p), i, part);
  });
  return MILL_OK;
}

// ---- clipping by value --------------------------------------------------------------------------

template <class S>
mill_status clamp_gradient(const mill_kernel_args* args) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const bool scaled = input(args, 1) != nullptr;
  const double limit = args->attr[0].f * stat_or_one(input(args, 1));
  const S* grad = data_of<const S>(args->in[0]);
  S* out = data_of<S>(args->out[0]);
  const V most = hn::Set(d, static_cast<C>(limit));
  const V least = hn::Neg(most);
  each_parallel(args, d, args->in[0]->numel, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V g = get(d, grad + i, part);
    // Comparisons with NaN are false.
    V bound = hn::IfThenElse(hn::Gt(g, most), most, hn::IfThenElse(hn::Lt(g, least), least, g));
    if (scaled) bound = hn::IfThenElse(hn::IsInf(g), g, bound);
    put(d, bound, out + i, part);
  });
  return MILL_OK;
}

// ---- averages -----------------------------------------------------------------------------------

template <class S>
mill_status average_step(const mill_kernel_args* args) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  if (skips(input(args, 3))) {
    keep(args->in[1], args->out[0]);
    return MILL_OK;
  }
  const double count = step_of(args->in[2]);
  const double warm = (1 + count) / (10 + count);
  const double decay = args->attr[1].i != 0 ? smaller(args->attr[0].f, warm) : args->attr[0].f;
  const S* param = data_of<const S>(args->in[0]);
  const C* average = data_of<const C>(args->in[1]);
  C* out = data_of<C>(args->out[0]);
  const V keep_old = hn::Set(d, static_cast<C>(decay));
  const V take = hn::Set(d, static_cast<C>(1 - decay));
  each_parallel(args, d, args->in[0]->numel, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V p = get(d, param + i, part);
    put(d, hn::MulAdd(keep_old, get(d, average + i, part), hn::Mul(take, p)), out + i, part);
  });
  return MILL_OK;
}

// ---- schedules ----------------------------------------------------------------------------------

// As mill_schedule_shapes, which plugin.h does not have.
enum Shape : int64_t {
  kConstant,
  kCosine,
  kLinear,
  kRestarts,
  kSteps,
  kExponential,
  kPolynomial,
  kOneCycle,
  kInverseRoot
};

// From 1 down to 0 for p from 0 to 1.
double half_wave(double p) {
  constexpr double kPi = 3.14159265358979323846;
  return 0.5 * (1 + std::cos(kPi * p));
}

// Position in the cycle that `done` falls into, each `multiple` times as long as the one before.
double cycle_position(int64_t done, int64_t period, int64_t multiple) {
  int64_t length = period;
  if (multiple == 1) {
    done %= length;
  } else {
    while (done >= length) {
      done -= length;
      // A longer cycle than can be counted never ends.
      if (__builtin_mul_overflow(length, multiple, &length)) length = INT64_MAX;
    }
  }
  return static_cast<double>(done) / static_cast<double>(length);
}

double schedule_factor(const mill_kernel_args* args, int64_t step) {
  const int64_t shape = args->attr[0].i;
  const int64_t warmup = args->attr[1].i;
  const int64_t total = args->attr[2].i;
  const double floor = args->attr[3].f;
  const double start = args->attr[4].f;
  const int64_t period = args->attr[5].i;
  const double factor = args->attr[6].f;
  if (step <= warmup && warmup > 0) {
    if (shape == kOneCycle) {
      const double p =
          warmup == 1 ? 1 : static_cast<double>(step - 1) / static_cast<double>(warmup - 1);
      return 1 + (start - 1) * half_wave(p);
    }
    return start + (1 - start) * (static_cast<double>(step) / static_cast<double>(warmup));
  }
  const int64_t done = larger<int64_t>(0, step - warmup);
  const double progress =
      step >= total ? 1 : static_cast<double>(done) / static_cast<double>(total - warmup);
  double value = 1;
  switch (shape) {
    case kCosine:
    case kOneCycle: return floor + (1 - floor) * half_wave(progress);
    case kLinear: return 1 - (1 - floor) * progress;
    case kPolynomial: return floor + (1 - floor) * std::pow(1 - progress, factor);
    case kRestarts: {
      const double p = cycle_position(done, period, static_cast<int64_t>(factor));
      return floor + (1 - floor) * half_wave(p);
    }
    case kSteps: value = std::pow(factor, static_cast<double>(done / period)); break;
    case kExponential:
      value = std::pow(factor, static_cast<double>(done) / static_cast<double>(period));
      break;
    case kInverseRoot:
      value = std::sqrt(static_cast<double>(larger<int64_t>(1, warmup)) /
                        static_cast<double>(larger<int64_t>(1, step)));
      break;
    default: return 1;
  }
  return value < floor ? floor : value;
}

mill_status rate_schedule(const mill_kernel_args* args) {
  const int64_t step = *data_of<const int64_t>(args->in[0]);
  write_stat(args->out[0], 0, read_stat(args->in[1]) * schedule_factor(args, step));
  return MILL_OK;
}

#define MILL_UPDATE(op, kernel)                                                                  \
  {op, bit(MILL_F32), {kernel<float>, nullptr}}, {op, bit(MILL_F64), {kernel<double>, nullptr}}, \
      {op, bit(MILL_BF16), {kernel<bf16>, nullptr}}, {                                           \
    op, bit(MILL_F16), {                                                                         \
      kernel<f16>, nullptr                                                                       \
    }                                                                                            \
  }

constexpr KernelEntry kEntries[] = {
    MILL_UPDATE(MILL_OP_ADAM_STEP, adam_step),
    MILL_UPDATE(MILL_OP_RMSPROP_STEP, rmsprop_step),
    MILL_UPDATE(MILL_OP_ADAGRAD_STEP, adagrad_step),
    MILL_UPDATE(MILL_OP_LION_STEP, lion_step),
    MILL_UPDATE(MILL_OP_MOMENTUM_STEP, momentum_step),
    MILL_UPDATE(MILL_OP_CLAMP_GRADIENT, clamp_gradient),
    MILL_UPDATE(MILL_OP_AVERAGE_STEP, average_step),
    {MILL_OP_RATE_SCHEDULE, bit(MILL_I64), {rate_schedule, nullptr}},
};

}  // namespace

KernelList update_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
