// The optimizers beside SGD and AdamW, clipping by value, averages of the parameters and shapes of
// schedules. Rate, step and clip factor are tensors of one element. Needs optim.inl.

// ---- steps --------------------------------------------------------------------------------------

// A rule has options for the launch, factors that follow from them, the rate and the step, and an
// update of one element whose state is s[0] to s[kStates - 1].

struct update_scalars {
  double weight_decay;
  bool rate_is_double;
  bool clip_is_double;
};

struct adam_rule {
  struct options {
    update_scalars shared;
    double beta1;
    double beta2;
    double eps;
    bool decoupled;
    bool largest;  // state 2 is there
  };
  template <class C>
  struct factors {
    C clip;
    C decay;
    C keep1;
    C take1;
    C keep2;
    C take2;
    C shrink;
    C scale2;
    C eps;
    C size;
    bool largest;
  };
  static constexpr int kStates = 3;

  // Scalars in f64: 1 - beta^step cancels in f32.
  template <class C>
  MILL_DEVICE static void prepare(factors<C>& f, const options& o, double rate, double step) {
    f.decay = static_cast<C>(o.decoupled ? 0.0 : o.shared.weight_decay);
    f.keep1 = static_cast<C>(o.beta1);
    f.take1 = static_cast<C>(1 - o.beta1);
    f.keep2 = static_cast<C>(o.beta2);
    f.take2 = static_cast<C>(1 - o.beta2);
    f.shrink = static_cast<C>(o.decoupled ? 1 - rate * o.shared.weight_decay : 1.0);
    f.scale2 = static_cast<C>(1 / sqrt_(1 - pow_(o.beta2, step)));
    f.eps = static_cast<C>(o.eps);
    f.size = static_cast<C>(rate / (1 - pow_(o.beta1, step)));
    f.largest = o.largest;
  }
  template <class C>
  MILL_DEVICE static C update(const factors<C>& f, C p, C grad, C (&s)[kStates]) {
    const C g = fma_(f.decay, p, grad * f.clip);
    s[0] = fma_(f.keep1, s[0], f.take1 * g);
    s[1] = fma_(f.keep2, s[1], f.take2 * (g * g));
    C used = s[1];
    if (f.largest) {
      // A NaN in v stays.
      used = s[2] > s[1] ? s[2] : s[1];
      s[2] = used;
    }
    const C root = fma_(sqrt_(used), f.scale2, f.eps);
    return fma_(-f.size, s[0] / root, p * f.shrink);
  }
};

struct rmsprop_rule {
  struct options {
    update_scalars shared;
    double alpha;
    double eps;
    double momentum;
    bool centered;  // state 1 is there
    bool moves;     // state 2 is there
  };
  template <class C>
  struct factors {
    C clip;
    C decay;
    C keep;
    C take;
    C eps;
    C momentum;
    C rate;
    bool centered;
    bool moves;
  };
  static constexpr int kStates = 3;

  template <class C>
  MILL_DEVICE static void prepare(factors<C>& f, const options& o, double rate, double) {
    f.decay = static_cast<C>(o.shared.weight_decay);
    f.keep = static_cast<C>(o.alpha);
    f.take = static_cast<C>(1 - o.alpha);
    f.eps = static_cast<C>(o.eps);
    f.momentum = static_cast<C>(o.momentum);
    f.rate = static_cast<C>(rate);
    f.centered = o.centered;
    f.moves = o.moves;
  }
  template <class C>
  MILL_DEVICE static C update(const factors<C>& f, C p, C grad, C (&s)[kStates]) {
    const C g = fma_(f.decay, p, grad * f.clip);
    s[0] = fma_(f.keep, s[0], f.take * (g * g));
    C spread = s[0];
    if (f.centered) {
      s[1] = fma_(f.keep, s[1], f.take * g);
      spread = fma_(-s[1], s[1], spread);
      // Below 0 by rounding alone; NaN stays.
      if (spread < 0) spread = 0;
    }
    C direction = g / (sqrt_(spread) + f.eps);
    if (f.moves) {
      direction = fma_(f.momentum, s[2], direction);
      s[2] = direction;
    }
    return fma_(-f.rate, direction, p);
  }
};

struct adagrad_rule {
  struct options {
    update_scalars shared;
    double rate_decay;
    double eps;
  };
  template <class C>
  struct factors {
    C clip;
    C decay;
    C eps;
    C rate;
  };
  static constexpr int kStates = 1;

  template <class C>
  MILL_DEVICE static void prepare(factors<C>& f, const options& o, double rate, double step) {
    f.decay = static_cast<C>(o.shared.weight_decay);
    f.eps = static_cast<C>(o.eps);
    f.rate = static_cast<C>(rate / (1 + (step - 1) * o.rate_decay));
  }
  template <class C>
  MILL_DEVICE static C update(const factors<C>& f, C p, C grad, C (&s)[kStates]) {
    const C g = fma_(f.decay, p, grad * f.clip);
    s[0] = fma_(g, g, s[0]);
    return fma_(-f.rate, g / (sqrt_(s[0]) + f.eps), p);
  }
};

struct lion_rule {
  struct options {
    update_scalars shared;
    double beta1;
    double beta2;
  };
  template <class C>
  struct factors {
    C clip;
    C keep1;
    C take1;
    C keep2;
    C take2;
    C shrink;
    C rate;
  };
  static constexpr int kStates = 1;

  template <class C>
  MILL_DEVICE static void prepare(factors<C>& f, const options& o, double rate, double) {
    f.keep1 = static_cast<C>(o.beta1);
    f.take1 = static_cast<C>(1 - o.beta1);
    f.keep2 = static_cast<C>(o.beta2);
    f.take2 = static_cast<C>(1 - o.beta2);
    f.shrink = static_cast<C>(1 - rate * o.shared.weight_decay);
    f.rate = static_cast<C>(rate);
  }
  template <class C>
  MILL_DEVICE static C update(const factors<C>& f, C p, C grad, C (&s)[kStates]) {
    const C g = grad * f.clip;
    const C way = fma_(f.keep1, s[0], f.take1 * g);
    // 0 and NaN are their own sign.
    const C sign = way > 0 ? C(1) : way < 0 ? C(-1) : way;
    s[0] = fma_(f.keep2, s[0], f.take2 * g);
    return fma_(-f.rate, sign, p * f.shrink);
  }
};

// SGD with dampening.
struct momentum_rule {
  struct options {
    update_scalars shared;
    double momentum;
    double dampening;
    bool nesterov;
  };
  template <class C>
  struct factors {
    C clip;
    C decay;
    C keep;
    C take;
    C momentum;
    C rate;
    bool nesterov;
  };
  static constexpr int kStates = 1;

  // At the first step nothing is kept and all is taken.
  template <class C>
  MILL_DEVICE static void prepare(factors<C>& f, const options& o, double rate, double step) {
    f.decay = static_cast<C>(o.shared.weight_decay);
    f.keep = static_cast<C>(step == 1 ? 0.0 : o.momentum);
    f.take = static_cast<C>(step == 1 ? 1.0 : 1 - o.dampening);
    f.momentum = static_cast<C>(o.momentum);
    f.rate = static_cast<C>(rate);
    f.nesterov = o.nesterov;
  }
  template <class C>
  MILL_DEVICE static C update(const factors<C>& f, C p, C grad, C (&s)[kStates]) {
    const C g = fma_(f.decay, p, grad * f.clip);
    s[0] = fma_(f.keep, s[0], f.take * g);
    return fma_(-f.rate, f.nesterov ? fma_(f.momentum, s[0], g) : s[0], p);
  }
};

// The tensors of a step. State that a rule has not, or is not asked for, is null, and so is master
// where the parameters are updated themselves; with one they become its rounded copy.
template <class S>
struct update_tensors {
  const S* param;
  const S* grad;
  const acc_t<S>* state[3];
  const acc_t<S>* master;
  S* param_out;
  acc_t<S>* state_out[3];
  acc_t<S>* master_out;
};

template <int N, class Rule, class S>
MILL_DEVICE void update_run(const typename Rule::template factors<acc_t<S>>& f,
                            const update_tensors<S>& x, int64_t i) {
  using C = acc_t<S>;
  constexpr int K = Rule::kStates;
  C p[N];
  C g[N];
  C s[K][N] = {};
  if (x.master != nullptr) {
    get_run(x.master + i, p);
  } else {
    get_run(x.param + i, p);
  }
  get_run(x.grad + i, g);
  MILL_UNROLL
  for (int k = 0; k < K; ++k) {
    if (x.state[k] != nullptr) get_run(x.state[k] + i, s[k]);
  }
  MILL_UNROLL
  for (int w = 0; w < N; ++w) {
    C one[K];
    MILL_UNROLL
    for (int k = 0; k < K; ++k) one[k] = s[k][w];
    p[w] = Rule::update(f, p[w], g[w], one);
    MILL_UNROLL
    for (int k = 0; k < K; ++k) s[k][w] = one[k];
  }
  MILL_UNROLL
  for (int k = 0; k < K; ++k) {
    if (x.state_out[k] != nullptr) put_run(x.state_out[k] + i, s[k]);
  }
  if (x.master_out != nullptr) put_run(x.master_out + i, p);
  put_run(x.param_out + i, p);
}

// A negative clip factor leaves everything as it is.
template <int Threads, int W, class Rule, class S>
MILL_KERNEL(Threads, 2)
rule_update(Block t, MILL_PARAM(typename Rule::options) o, int64_t n, const void* rate,
            const int64_t* step, const void* clip, const S* param, const S* grad,
            const acc_t<S>* state0, const acc_t<S>* state1, const acc_t<S>* state2,
            const acc_t<S>* master, S* param_out, acc_t<S>* out0, acc_t<S>* out1, acc_t<S>* out2,
            acc_t<S>* master_out) {
  using C = acc_t<S>;
  using factors = typename Rule::template factors<C>;
  MILL_SHARED(t, factors, shared);
  if (t.tid() == 0) {
    Rule::prepare(shared, o, stat_at(rate, o.shared.rate_is_double),
                  step == nullptr ? 1.0 : static_cast<double>(*step));
    shared.clip = static_cast<C>(stat_at(clip, o.shared.clip_is_double));
  }
  t.barrier();
  const factors f = shared;
  const update_tensors<S> x = {
      param, grad, {state0, state1, state2}, master, param_out, {out0, out1, out2}, master_out};
  if (f.clip < 0) {
    keep_run(param, param_out, t.global_id(), n, t.global_size());
    MILL_UNROLL
    for (int k = 0; k < Rule::kStates; ++k)
      keep_run(x.state[k], x.state_out[k], t.global_id(), n, t.global_size());
    keep_run(master, master_out, t.global_id(), n, t.global_size());
    return;
  }
  const int64_t vectors = n / W;
  for (int64_t k = t.global_id(); k < vectors; k += t.global_size())
    update_run<W, Rule>(f, x, k * W);
  if constexpr (W > 1) {
    const int64_t rest = vectors * W + t.global_id();
    if (rest < n) update_run<1, Rule>(f, x, rest);
  }
}

// ---- clipping by value --------------------------------------------------------------------------

struct clamp_options {
  double limit;
  bool scale_is_double;
};

template <class C>
MILL_DEVICE C clamped(C g, C limit, bool keep_infinite) {
  // Comparisons with NaN are false.
  const C bound = g > limit ? limit : g < -limit ? -limit : g;
  if (!keep_infinite) return bound;
  return g - g == 0 ? bound : g;
}

// With a scale infinity stays, for the loss scaler to see.
template <int Threads, int W, class S>
MILL_KERNEL(Threads, 2)
clamp_elements(Flat t, MILL_PARAM(clamp_options) o, int64_t n, const S* grad, const void* scale,
               S* out) {
  using C = acc_t<S>;
  const C limit = static_cast<C>(o.limit * stat_at(scale, o.scale_is_double));
  const bool scaled = scale != nullptr;
  const int64_t vectors = n / W;
  for (int64_t k = t.global_id(); k < vectors; k += t.global_size()) {
    C g[W];
    get_run(grad + k * W, g);
    MILL_UNROLL
    for (int w = 0; w < W; ++w) g[w] = clamped(g[w], limit, scaled);
    put_run(out + k * W, g);
  }
  const int64_t rest = vectors * W + t.global_id();
  if (W > 1 && rest < n) out[rest] = down<S>(clamped(up(grad[rest]), limit, scaled));
}

// ---- averages -----------------------------------------------------------------------------------

struct average_options {
  double decay;
  bool warm_up;
  bool clip_is_double;
};

template <int Threads, int W, class S>
MILL_KERNEL(Threads, 2)
average_elements(Flat t, MILL_PARAM(average_options) o, int64_t n, const S* param,
                 const acc_t<S>* average, const int64_t* step, const void* clip, acc_t<S>* out) {
  using C = acc_t<S>;
  if (stat_at(clip, o.clip_is_double) < 0) {
    keep_run(average, out, t.global_id(), n, t.global_size());
    return;
  }
  const auto count = static_cast<double>(*step);
  const double warm = (1 + count) / (10 + count);
  const double decay = o.warm_up && warm < o.decay ? warm : o.decay;
  const C keep = static_cast<C>(decay);
  const C take = static_cast<C>(1 - decay);
  const int64_t vectors = n / W;
  for (int64_t k = t.global_id(); k < vectors; k += t.global_size()) {
    C p[W];
    C a[W];
    get_run(param + k * W, p);
    get_run(average + k * W, a);
    MILL_UNROLL
    for (int w = 0; w < W; ++w) a[w] = fma_(keep, a[w], take * p[w]);
    put_run(out + k * W, a);
  }
  const int64_t rest = vectors * W + t.global_id();
  if (W > 1 && rest < n) out[rest] = fma_(keep, average[rest], take * up(param[rest]));
}

// ---- schedules ----------------------------------------------------------------------------------

// As mill_schedule_shapes, which plugin.h does not have.
enum rate_shape : int32_t {
  rate_constant,
  rate_cosine,
  rate_linear,
  rate_restarts,
  rate_steps,
  rate_exponential,
  rate_polynomial,
  rate_one_cycle,
  rate_inverse_root
};

struct rate_options {
  int64_t warmup;
  int64_t total;
  int64_t period;
  double floor;
  double start;
  double factor;
  int32_t shape;
};

// From 1 down to 0 for p from 0 to 1.
MILL_DEVICE double half_wave(double p) {
  return 0.5 * (1 + cos_half_turns(p));
}

// Position in the cycle that `done` falls into, each `multiple` times as long as the one before.
MILL_DEVICE double cycle_position(int64_t done, int64_t period, int64_t multiple) {
  int64_t length = period;
  if (multiple == 1) {
    done %= length;
  } else {
    constexpr int64_t kMost = 0x7fffffffffffffff;
    while (done >= length) {
      done -= length;
      // A longer cycle than can be counted never ends.
      length = length > kMost / multiple ? kMost : length * multiple;
    }
  }
  return static_cast<double>(done) / static_cast<double>(length);
}

MILL_DEVICE double rate_factor(const rate_options& o, int64_t step) {
  if (step <= o.warmup && o.warmup > 0) {
    if (o.shape == rate_one_cycle) {
      const double p =
          o.warmup == 1 ? 1 : static_cast<double>(step - 1) / static_cast<double>(o.warmup - 1);
      return 1 + (o.start - 1) * half_wave(p);
    }
    return o.start + (1 - o.start) * (static_cast<double>(step) / static_cast<double>(o.warmup));
  }
  const int64_t done = step > o.warmup ? step - o.warmup : 0;
  const double progress =
      step >= o.total ? 1 : static_cast<double>(done) / static_cast<double>(o.total - o.warmup);
  double value = 1;
  switch (o.shape) {
    case rate_cosine:
    case rate_one_cycle: return o.floor + (1 - o.floor) * half_wave(progress);
    case rate_linear: return 1 - (1 - o.floor) * progress;
    case rate_polynomial: return o.floor + (1 - o.floor) * pow_(1 - progress, o.factor);
    case rate_restarts: {
      const double p = cycle_position(done, o.period, static_cast<int64_t>(o.factor));
      return o.floor + (1 - o.floor) * half_wave(p);
    }
    case rate_steps: value = pow_(o.factor, static_cast<double>(done / o.period)); break;
    case rate_exponential:
      value = pow_(o.factor, static_cast<double>(done) / static_cast<double>(o.period));
      break;
    case rate_inverse_root:
      value = sqrt_(static_cast<double>(o.warmup > 1 ? o.warmup : 1) /
                    static_cast<double>(step > 1 ? step : 1));
      break;
    default: return 1;
  }
  return value < o.floor ? o.floor : value;
}

template <int Threads, class C>
MILL_KERNEL(Threads, 1)
shaped_rate(Flat t, MILL_PARAM(rate_options) o, const int64_t* counter, const C* base, C* out) {
  if (t.global_id() != 0) return;
  *out = static_cast<C>(static_cast<double>(*base) * rate_factor(o, *counter));
}
