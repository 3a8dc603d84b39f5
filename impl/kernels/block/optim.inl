// Optimizer steps, the norm of a list of tensors, clipping, schedules, counters. Rate, step and
// clip factor are tensors of one element. Needs rows.inl and circle.inl.

// An element of an f32 or f64 tensor; 1 where there is none.
MILL_DEVICE double stat_at(const void* p, bool is_double) {
  if (p == nullptr) return 1;
  return is_double ? *static_cast<const double*>(p)
                   : static_cast<double>(*static_cast<const float*>(p));
}

// N neighbours at p, 16 bytes at a time.
template <int N, class T>
MILL_DEVICE void get_run(const T* p, acc_t<T> (&v)[N]) {
  constexpr int V = N * sizeof(T) <= 16 ? N : static_cast<int>(16 / sizeof(T));
  MILL_UNROLL
  for (int k = 0; k < N; k += V) {
    const vec<T, V> x = load<V>(p + k);
    MILL_UNROLL
    for (int w = 0; w < V; ++w) v[k + w] = up(x[w]);
  }
}
template <int N, class T>
MILL_DEVICE void put_run(T* p, const acc_t<T> (&v)[N]) {
  constexpr int V = N * sizeof(T) <= 16 ? N : static_cast<int>(16 / sizeof(T));
  MILL_UNROLL
  for (int k = 0; k < N; k += V) {
    vec<T, V> x;
    MILL_UNROLL
    for (int w = 0; w < V; ++w) x[w] = down<T>(v[k + w]);
    store(p + k, x);
  }
}

// A skipped step: the calling thread's share of elements [begin, end), in steps of `stride`.
template <class T>
MILL_DEVICE void keep_run(const T* from, T* to, int64_t begin, int64_t end, int64_t stride) {
  if (from == to || from == nullptr || to == nullptr) return;
  for (int64_t i = begin; i < end; i += stride) to[i] = from[i];
}

// ---- SGD ----------------------------------------------------------------------------------------

struct sgd_options {
  double momentum;
  double decay;
  bool nesterov;
  bool rate_is_double;
  bool clip_is_double;
};

template <class C>
struct sgd_factors {
  C rate;
  C clip;
  C momentum;
  C decay;
  bool nesterov;
};

template <int N, bool Momentum, bool Master, class S>
MILL_DEVICE void sgd_run(const sgd_factors<acc_t<S>>& f, const S* param, const S* grad,
                         const acc_t<S>* velocity, const acc_t<S>* master, S* param_out,
                         acc_t<S>* velocity_out, acc_t<S>* master_out) {
  using C = acc_t<S>;
  C p[N];
  C g[N];
  C v[N];
  if constexpr (Master) {
    get_run(master, p);
  } else {
    get_run(param, p);
  }
  get_run(grad, g);
  if constexpr (Momentum) get_run(velocity, v);
  MILL_UNROLL
  for (int k = 0; k < N; ++k) {
    C direction = fma_(f.decay, p[k], g[k] * f.clip);
    if constexpr (Momentum) {
      v[k] = fma_(f.momentum, v[k], direction);
      direction = f.nesterov ? fma_(f.momentum, v[k], direction) : v[k];
    }
    p[k] = fma_(-f.rate, direction, p[k]);
  }
  if constexpr (Momentum) {
    if (velocity_out != nullptr) put_run(velocity_out, v);
  }
  if constexpr (Master) put_run(master_out, p);
  put_run(param_out, p);
}

// master as in adamw_tensor. A negative clip factor leaves everything as it is.
template <int Threads, int W, bool Momentum, bool Master, class S>
MILL_KERNEL(Threads, 2)
sgd_update(Flat t, MILL_PARAM(sgd_options) o, int64_t n, const S* param, const S* grad,
           const acc_t<S>* velocity, const acc_t<S>* master, const void* rate, const void* clip,
           S* param_out, acc_t<S>* velocity_out, acc_t<S>* master_out) {
  using C = acc_t<S>;
  const sgd_factors<C> f = {static_cast<C>(stat_at(rate, o.rate_is_double)),
                            static_cast<C>(stat_at(clip, o.clip_is_double)),
                            static_cast<C>(o.momentum), static_cast<C>(o.decay), o.nesterov};
  if (f.clip < 0) {
    keep_run(param, param_out, t.global_id(), n, t.global_size());
    if constexpr (Momentum) keep_run(velocity, velocity_out, t.global_id(), n, t.global_size());
    if constexpr (Master) keep_run(master, master_out, t.global_id(), n, t.global_size());
    return;
  }
  const auto run = [&]<int N>(int64_t i) {
    acc_t<S>* v_out = Momentum && velocity_out != nullptr ? velocity_out + i : nullptr;
    sgd_run<N, Momentum, Master>(f, Master ? nullptr : param + i, grad + i,
                                 Momentum ? velocity + i : nullptr, Master ? master + i : nullptr,
                                 param_out + i, v_out, Master ? master_out + i : nullptr);
  };
  const int64_t vectors = n / W;
  for (int64_t k = t.global_id(); k < vectors; k += t.global_size())
    run.template operator()<W>(k * W);
  if constexpr (W > 1) {
    const int64_t rest = vectors * W + t.global_id();
    if (rest < n) run.template operator()<1>(rest);
  }
}

// ---- AdamW --------------------------------------------------------------------------------------

struct adamw_options {
  double beta1;
  double beta2;
  double eps;
  double decay;
  bool rate_is_double;
  bool clip_is_double;
};

// One tensor of a list. master: f32 weights beside two-byte parameters, updated in their stead; the
// parameters become their rounded copy.
template <class S>
struct adamw_tensor {
  dptr<const S> param;  // where there is a master, read by a skipped step only
  dptr<const S> grad;
  dptr<const acc_t<S>> m;
  dptr<const acc_t<S>> v;
  dptr<const acc_t<S>> master;
  dptr<S> param_out;
  dptr<acc_t<S>> m_out;
  dptr<acc_t<S>> v_out;
  dptr<acc_t<S>> master_out;
  int64_t numel;
  int64_t first_block;  // of the grid; a block takes table.chunk elements
};

template <class S, int N>
struct adamw_table {
  int64_t chunk;
  int32_t count;
  adamw_tensor<S> tensor[N];
};

template <class C>
struct adamw_factors {
  C clip;
  C keep1;
  C take1;
  C keep2;
  C take2;
  C shrink;
  C scale2;
  C eps;
  C size;
};

template <int N, bool Master, class S>
MILL_DEVICE void adamw_run(const adamw_factors<acc_t<S>>& f, const S* param, const S* grad,
                           const acc_t<S>* m, const acc_t<S>* v, const acc_t<S>* master,
                           S* param_out, acc_t<S>* m_out, acc_t<S>* v_out, acc_t<S>* master_out) {
  using C = acc_t<S>;
  C p[N];
  C g[N];
  C first[N];
  C second[N];
  if constexpr (Master) {
    get_run(master, p);
  } else {
    get_run(param, p);
  }
  get_run(grad, g);
  get_run(m, first);
  get_run(v, second);
  MILL_UNROLL
  for (int k = 0; k < N; ++k) {
    const C x = g[k] * f.clip;
    first[k] = fma_(f.keep1, first[k], f.take1 * x);
    second[k] = fma_(f.keep2, second[k], f.take2 * (x * x));
    const C root = fma_(sqrt_(second[k]), f.scale2, f.eps);
    p[k] = fma_(-f.size, first[k] / root, p[k] * f.shrink);
  }
  put_run(m_out, first);
  put_run(v_out, second);
  if constexpr (Master) put_run(master_out, p);
  put_run(param_out, p);
}

// AdamW (Loshchilov and Hutter, 2019) on the tensors of a table. Scalars in f64, once for a block:
// 1 - beta^step cancels in f32. A negative clip factor leaves everything as it is.
template <int Threads, int W, bool Master, class S, int N>
MILL_KERNEL(Threads, 2)
adamw_update(Block t, MILL_PARAM(adamw_options) o, MILL_PARAM(adamw_table<S, N>) table,
             const void* rate, const int64_t* step, const void* clip) {
  using C = acc_t<S>;
  MILL_SHARED(t, adamw_factors<C>, shared);
  // Two warps: a power takes long.
  if (t.tid() == 0) {
    const double r = stat_at(rate, o.rate_is_double);
    shared.clip = static_cast<C>(stat_at(clip, o.clip_is_double));
    shared.keep1 = static_cast<C>(o.beta1);
    shared.take1 = static_cast<C>(1 - o.beta1);
    shared.shrink = static_cast<C>(1 - r * o.decay);
    shared.eps = static_cast<C>(o.eps);
    shared.size = static_cast<C>(r / (1 - pow_(o.beta1, static_cast<double>(*step))));
  } else if (t.tid() == kWarp) {
    shared.keep2 = static_cast<C>(o.beta2);
    shared.take2 = static_cast<C>(1 - o.beta2);
    shared.scale2 = static_cast<C>(1 / sqrt_(1 - pow_(o.beta2, static_cast<double>(*step))));
  }
  t.barrier();
  const adamw_factors<C> f = shared;

  int which = 0;
  if constexpr (N > 1) {
    while (which + 1 < table.count && t.bid() >= table.tensor[which + 1].first_block) ++which;
  }
  const adamw_tensor<S>& x = table.tensor[which];
  const S* param = x.param.get(t);
  const S* grad = x.grad.get(t);
  const C* m = x.m.get(t);
  const C* v = x.v.get(t);
  const C* master = x.master.get(t);
  S* param_out = x.param_out.get(t);
  C* m_out = x.m_out.get(t);
  C* v_out = x.v_out.get(t);
  C* master_out = x.master_out.get(t);
  const auto run = [&]<int R>(int64_t i) {
    adamw_run<R, Master>(f, Master ? nullptr : param + i, grad + i, m + i, v + i,
                         Master ? master + i : nullptr, param_out + i, m_out + i, v_out + i,
                         Master ? master_out + i : nullptr);
  };
  const int64_t begin = (t.bid() - x.first_block) * table.chunk;
  const int64_t end = begin + table.chunk < x.numel ? begin + table.chunk : x.numel;
  if (f.clip < 0) {
    keep_run(param, param_out, begin + t.tid(), end, Threads);
    keep_run(m, m_out, begin + t.tid(), end, Threads);
    keep_run(v, v_out, begin + t.tid(), end, Threads);
    if constexpr (Master) keep_run(master, master_out, begin + t.tid(), end, Threads);
    return;
  }
  const int64_t whole = end - (end - begin) % W;
  for (int64_t i = begin + t.tid() * W; i < whole; i += Threads * W) run.template operator()<W>(i);
  if constexpr (W > 1) {
    if (whole + t.tid() < end) run.template operator()<1>(whole + t.tid());
  }
}

// ---- norm and clipping --------------------------------------------------------------------------

struct norm_tensor {
  dptr<const unsigned char> data;
  int64_t numel;
  int64_t first_block;  // of the grid; a block takes table.chunk elements
  int32_t dtype;
  bool vectors;  // 16-byte accesses
};

struct norm_table {
  int64_t chunk;
  int32_t count;
  norm_tensor tensor[MILL_MAX_OP_INPUTS];
};

// Of elements [begin, end), the calling thread's share. Each element of a vector has a chain of its
// own, at most kNormChunk / (Threads * W) long.
template <int Threads, int W, class T>
MILL_DEVICE double squares_in(const Block& t, const T* x, int64_t begin, int64_t end) {
  using C = acc_t<T>;
  C sum[W] = {};
  int64_t i = begin + t.tid() * W;
  for (; i + W <= end; i += Threads * W) {
    C v[W];
    get_run(x + i, v);
    MILL_UNROLL
    for (int w = 0; w < W; ++w) sum[w] = fma_(v[w], v[w], sum[w]);
  }
  // At most one thread has part of a vector left.
  MILL_UNROLL
  for (int w = 0; w < W; ++w) {
    if (i + w < end) {
      const C v = up(x[i + w]);
      sum[w] = fma_(v, v, sum[w]);
    }
  }
  double all = 0;
  MILL_UNROLL
  for (int w = 0; w < W; ++w) all += static_cast<double>(sum[w]);
  return all;
}

template <int Threads, class T>
MILL_DEVICE double squares_of(const Block& t, const unsigned char* data, bool vectors,
                              int64_t begin, int64_t end) {
  const auto* x = reinterpret_cast<const T*>(data);
  if (vectors) return squares_in<Threads, static_cast<int>(16 / sizeof(T))>(t, x, begin, end);
  return squares_in<Threads, 1>(t, x, begin, end);
}

template <int Threads>
MILL_KERNEL(Threads, 2)
squares_part(Block t, MILL_PARAM(norm_table) table, double* partial) {
  struct Scratch {
    double sum[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  int which = 0;
  while (which + 1 < table.count && t.bid() >= table.tensor[which + 1].first_block) ++which;
  const norm_tensor& x = table.tensor[which];
  const unsigned char* data = x.data.get(t);
  const int64_t begin = (t.bid() - x.first_block) * table.chunk;
  const int64_t end = begin + table.chunk < x.numel ? begin + table.chunk : x.numel;
  double sum;
  switch (x.dtype) {
    case MILL_F64: sum = squares_of<Threads, double>(t, data, x.vectors, begin, end); break;
    case MILL_BF16: sum = squares_of<Threads, bf16>(t, data, x.vectors, begin, end); break;
    case MILL_F16: sum = squares_of<Threads, f16>(t, data, x.vectors, begin, end); break;
    default: sum = squares_of<Threads, float>(t, data, x.vectors, begin, end); break;
  }
  sum = team_reduce<Threads>(t, s.sum, sum, add_op());
  if (t.tid() == 0) partial[t.bid()] = sum;
}

template <int Threads, class C>
MILL_KERNEL(Threads, 1)
squares_total(Block t, int64_t n, const double* partial, C* out) {
  struct Scratch {
    double sum[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  double sum = 0;
  for (int64_t i = t.tid(); i < n; i += Threads) sum += partial[i];
  sum = team_reduce<Threads>(t, s.sum, sum, add_op());
  if (t.tid() == 0) *out = static_cast<C>(sum);
}

// A NaN norm gives a NaN factor, as in PyTorch.
template <int Threads, class C>
MILL_KERNEL(Threads, 1)
clip_factor_of(Flat t, double max_norm, const C* squared, C* factor, C* norm_out) {
  if (t.global_id() != 0) return;
  const double norm = sqrt_(static_cast<double>(*squared));
  const double scale = max_norm / (norm + 1e-6);
  if (factor != nullptr) *factor = static_cast<C>(scale > 1 ? 1.0 : scale);
  if (norm_out != nullptr) *norm_out = static_cast<C>(norm);
}

// ---- loss scaling -------------------------------------------------------------------------------

struct scaler_options {
  double growth;
  double backoff;
  double max_norm;
  int64_t interval;
};

template <int Threads, class C>
MILL_KERNEL(Threads, 1)
scaler_step(Flat t, MILL_PARAM(scaler_options) o, const C* squared_norm, const C* scale_in,
            const int64_t* streak_in, const int64_t* step_in, C* factor_out, C* norm_out,
            C* scale_out, int64_t* streak_out, int64_t* step_out) {
  if (t.global_id() != 0) return;
  constexpr double kLeast = 0x1p-24;
  constexpr double kMost = 0x1p24;
  const auto squared = static_cast<double>(*squared_norm);
  auto scale = static_cast<double>(*scale_in);
  int64_t streak = *streak_in;
  int64_t step = *step_in;
  const double norm = sqrt_(squared) / scale;
  double factor = -1;
  // False for NaN and infinity.
  if (squared - squared == 0) {
    const double clip = o.max_norm > 0 ? o.max_norm / (norm + 1e-6) : 1;
    factor = (clip > 1 ? 1 : clip) / scale;
    step = static_cast<int64_t>(static_cast<uint64_t>(step) + 1);
    streak = static_cast<int64_t>(static_cast<uint64_t>(streak) + 1);
    if (streak >= o.interval) {
      scale = scale * o.growth < kMost ? scale * o.growth : kMost;
      streak = 0;
    }
  } else {
    scale = scale * o.backoff > kLeast ? scale * o.backoff : kLeast;
    streak = 0;
  }
  if (factor_out != nullptr) *factor_out = static_cast<C>(factor);
  if (norm_out != nullptr) *norm_out = static_cast<C>(norm);
  *scale_out = static_cast<C>(scale);
  *streak_out = streak;
  *step_out = step;
}

// ---- schedules ----------------------------------------------------------------------------------

struct schedule_options {
  int64_t warmup;
  int64_t total;
  double floor;
  bool cosine;  // after the warm-up; else constant
};

// cos(pi p) for p in [0, 1]: the nearest quarter turn and an angle in [-pi/4, pi/4].
MILL_DEVICE double cos_half_turns(double p) {
  constexpr double kPi = 3.14159265358979323846;
  const int quarter = p < 0.25 ? 0 : p < 0.75 ? 1 : 2;
  double sine;
  double cosine;
  small_circle(kPi * (p - 0.5 * quarter), &sine, &cosine);
  return quarter == 0 ? cosine : quarter == 1 ? -sine : -cosine;
}

// The cosine is that of Loshchilov and Hutter, "SGDR" (ICLR 2017).
template <int Threads, class C>
MILL_KERNEL(Threads, 1)
scheduled_rate(Flat t, MILL_PARAM(schedule_options) o, const int64_t* counter, const C* base,
               C* out) {
  if (t.global_id() != 0) return;
  const int64_t step = *counter;
  const auto full = static_cast<double>(*base);
  double rate = full;
  if (step <= o.warmup && o.warmup > 0) {
    rate = full * (static_cast<double>(step) / static_cast<double>(o.warmup));
  } else if (o.cosine) {
    const auto length = static_cast<double>(o.total - o.warmup);
    const auto done = static_cast<double>(step - o.warmup);
    const double progress = done >= length ? 1 : done / length;
    rate = full * (o.floor + (1 - o.floor) * 0.5 * (1 + cos_half_turns(progress)));
  }
  *out = static_cast<C>(rate);
}

template <int Threads>
MILL_KERNEL(Threads, 2)
increment_elements(Flat t, int64_t n, const int64_t* x, int64_t* out) {
  for (int64_t i = t.global_id(); i < n; i += t.global_size())
    out[i] = static_cast<int64_t>(static_cast<uint64_t>(x[i]) + 1);
}
