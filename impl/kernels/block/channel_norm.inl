// Normalisation over channels: batch norm (Ioffe and Szegedy, 2015) and group norm (Wu and He,
// 2018). After rows.inl. A block has `lanes` neighbouring channels, whose other threads share the
// positions of a chunk: one lane where a channel's positions lie side by side, a warp's width where
// the channels do. Chunks are joined in order by a second kernel, and a third one applies what was
// found.

struct channel_walk {
  int64_t channels;
  int64_t positions;
  int64_t channel[3];  // strides of the result, of x and of g
  int32_t rank;
  bool narrow;  // all positions have numbers below 2^32
  bool last;    // the channels of a position lie side by side
  int64_t size[MILL_MAX_RANK];
  fast_div by[MILL_MAX_RANK];
  int64_t stride[MILL_MAX_RANK][3];
};

struct channel_place {
  int64_t out, x, g;
};

MILL_DEVICE int64_t channel_quotient(const fast_div& by, bool narrow, int64_t a, int64_t b) {
  return narrow ? static_cast<int64_t>(by.quotient(static_cast<uint32_t>(a))) : a / b;
}

MILL_DEVICE channel_place channel_place_of(const channel_walk& v, int64_t channel,
                                           int64_t position) {
  channel_place p{channel * v.channel[0], channel * v.channel[1], channel * v.channel[2]};
  for (int i = 0; i < v.rank; ++i) {
    const int64_t rest =
        i + 1 < v.rank ? channel_quotient(v.by[i], v.narrow, position, v.size[i]) : 0;
    const int64_t here = position - rest * v.size[i];
    p.out += here * v.stride[i][0];
    p.x += here * v.stride[i][1];
    p.g += here * v.stride[i][2];
    position = rest;
  }
  return p;
}

// Which positions of which channel a thread has.
struct channel_share {
  int64_t channel;
  int64_t begin, end;  // every height-th of these
  int height;
};
MILL_DEVICE channel_share channel_share_of(const Block& t, const channel_walk& v, int64_t size,
                                           int lanes) {
  const int64_t tiles = (v.channels + lanes - 1) / lanes;
  const int64_t chunk = t.bid() / tiles;
  channel_share s;
  s.channel = (t.bid() - chunk * tiles) * lanes + (t.tid() & (lanes - 1));
  s.height = t.block_dim() / lanes;
  const int64_t first = chunk * size;
  s.end = v.positions - first < size ? v.positions : first + size;
  s.begin = first + t.tid() / lanes;
  if (s.channel >= v.channels) s.begin = s.end;
  return s;
}

// op over the threads of a block that share a column, in a fixed order; the first of them has the
// result.
template <class V, class Op>
MILL_DEVICE V column_reduce(const Block& t, V* slots, int lanes, V value, Op op) {
  const int first = t.tid() / lanes;
  slots[t.tid()] = value;
  t.barrier();
  for (int half = t.block_dim() / lanes / 2; half > 0; half /= 2) {
    if (first < half) {
      value = op(value, slots[t.tid() + half * lanes]);
      slots[t.tid()] = value;
    }
    t.barrier();
  }
  return value;
}

// ---- moments ------------------------------------------------------------------------------------

// Number, mean and sum of squared distances from it.
template <class V>
struct moments {
  V count;
  V mean;
  V squares;
};

// Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
// Variances" (1979).
struct join_moments_op {
  template <class V>
  MILL_DEVICE moments<V> operator()(moments<V> a, moments<V> b) const {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    const V count = a.count + b.count;
    const V share = b.count / count;
    const V distance = b.mean - a.mean;
    return {count, a.mean + distance * share,
            a.squares + b.squares + distance * distance * a.count * share};
  }
};

// Chunk k of channel c at [k * channels + c].
template <class T, int Threads, int Items>
MILL_KERNEL(Threads, 2)
channel_moments(Block t, MILL_PARAM(channel_walk) v, int64_t size, int lanes, const T* x,
                moments<wide_t<acc_t<T>>>* found) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    moments<Wide> slots[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  const channel_share mine = channel_share_of(t, v, size, lanes);
  moments<Wide> all{0, 0, 0};
  for (int64_t p = mine.begin; p < mine.end; p += Items * mine.height) {
    C value[Items];
    int n = 0;
    MILL_UNROLL
    for (int k = 0; k < Items; ++k) {
      const int64_t at = p + k * mine.height;
      const bool have = at < mine.end;
      value[k] = have ? up(x[channel_place_of(v, mine.channel, at).x]) : C(0);
      n += have ? 1 : 0;
    }
    const C count = static_cast<C>(n);
    const C mean = sum_items(value) / count;
    MILL_UNROLL
    for (int k = 0; k < Items; ++k) value[k] = k < n ? value[k] - mean : C(0);
    const C distances = sum_items(value);
    MILL_UNROLL
    for (int k = 0; k < Items; ++k) value[k] *= value[k];
    const C squares = sum_items(value);
    // What the rounded mean is off, unless the distances are rounded more than it is: Chan, Golub
    // and LeVeque, "Algorithms for Computing the Sample Variance" (1983).
    const Wide shift =
        count * mean * mean > squares ? static_cast<Wide>(distances) / count : Wide(0);
    all = join_moments_op()(
        all, moments<Wide>{static_cast<Wide>(count), static_cast<Wide>(mean) + shift,
                           static_cast<Wide>(squares) - static_cast<Wide>(count) * shift * shift});
  }
  all = column_reduce(t, s.slots, lanes, all, join_moments_op());
  if (t.tid() >= lanes || mine.channel >= v.channels) return;
  const int64_t chunk = t.bid() / ((v.channels + lanes - 1) / lanes);
  found[chunk * v.channels + mine.channel] = all;
}

// The chunks of each channel joined. mean and rstd [channels] are always there, the results may be
// absent; the second of them is a variance or the reciprocal deviation.
template <class C, int Threads>
MILL_KERNEL(Threads, 2)
channel_moments_finish(Block t, int64_t channels, int64_t chunks, int lanes, bool deviation, C eps,
                       const moments<wide_t<C>>* found, C* mean, C* rstd, C* mean_out,
                       int64_t mean_stride, C* spread_out, int64_t spread_stride) {
  using Wide = wide_t<C>;
  struct Scratch {
    moments<Wide> slots[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t channel = t.bid() * lanes + (t.tid() & (lanes - 1));
  const int64_t end = channel < channels ? chunks : 0;
  moments<Wide> all{0, 0, 0};
  for (int64_t k = t.tid() / lanes; k < end; k += t.block_dim() / lanes)
    all = join_moments_op()(all, found[k * channels + channel]);
  all = column_reduce(t, s.slots, lanes, all, join_moments_op());
  if (t.tid() >= lanes || channel >= channels) return;
  const C variance = static_cast<C>(all.squares / all.count);
  const C scale = 1 / sqrt_(variance + eps);
  mean[channel] = static_cast<C>(all.mean);
  rstd[channel] = scale;
  if (mean_out != nullptr) mean_out[channel * mean_stride] = static_cast<C>(all.mean);
  if (spread_out != nullptr) spread_out[channel * spread_stride] = deviation ? scale : variance;
}

// ---- factors ------------------------------------------------------------------------------------

// What cell c is normalised with: the statistic c / per_stat and the parameter c % params.
template <class C>
struct channel_layout {
  int64_t mean_stride, spread_stride, weight_stride, bias_stride;
  int64_t per_stat, params;
  C eps;
  bool variance;  // spread is one, and not the reciprocal deviation
};
// weight and bias may be null.
template <class T>
struct channel_factors {
  const acc_t<T>* mean;
  const acc_t<T>* spread;
  const T* weight;
  const T* bias;
};

template <class C>
struct channel_factor {
  C mean, rstd, weight, bias;
  int64_t stat;
};
template <class T>
MILL_DEVICE channel_factor<acc_t<T>> channel_factor_of(const channel_layout<acc_t<T>>& l,
                                                       const channel_factors<T>& f, int64_t cell) {
  using C = acc_t<T>;
  channel_factor<C> r;
  r.stat = l.per_stat == 1 ? cell : quotient(cell, l.per_stat);
  const int64_t parameter = cell < l.params ? cell : cell - quotient(cell, l.params) * l.params;
  r.mean = f.mean[r.stat * l.mean_stride];
  const C spread = f.spread[r.stat * l.spread_stride];
  r.rstd = l.variance ? 1 / sqrt_(spread + l.eps) : spread;
  r.weight = f.weight != nullptr ? up(f.weight[parameter * l.weight_stride]) : C(1);
  r.bias = f.bias != nullptr ? up(f.bias[parameter * l.bias_stride]) : C(0);
  return r;
}

// ---- application --------------------------------------------------------------------------------

// Element groups of W neighbours in the order of memory: along the channels of a position where
// those lie side by side, else along axis 0 of a cell.
struct channel_units {
  int64_t count;
  int64_t fast;  // units in a run
  fast_div by_fast, by_channels;
  bool narrow;
};
struct channel_unit {
  int64_t channel, position;
};
template <int W>
MILL_DEVICE channel_unit channel_unit_of(const channel_walk& v, const channel_units& u, int64_t i) {
  const int64_t run = channel_quotient(u.by_fast, u.narrow, i, u.fast);
  const int64_t within = (i - run * u.fast) * W;
  if (v.last) return {within, run};
  const int64_t row = channel_quotient(u.by_channels, u.narrow, run, v.channels);
  return {run - row * v.channels, row * v.size[0] + within};
}

// out = (x - mean) rstd weight + bias.
template <class T, int Threads, int W>
MILL_KERNEL(Threads, 2)
channel_apply(Flat t, MILL_PARAM(channel_walk) v, MILL_PARAM(channel_units) units,
              MILL_PARAM(channel_layout<acc_t<T>>) layout, const acc_t<T>* mean,
              const acc_t<T>* spread, const T* weight, const T* bias, const T* x, T* out) {
  using C = acc_t<T>;
  const channel_factors<T> factors{mean, spread, weight, bias};
  for (int64_t i = t.global_id(); i < units.count; i += t.global_size()) {
    const channel_unit u = channel_unit_of<W>(v, units, i);
    const channel_place p = channel_place_of(v, u.channel, u.position);
    const vec<T, W> from = load<W>(x + p.x);
    channel_factor<C> f = channel_factor_of<T>(layout, factors, u.channel);
    vec<T, W> r;
    MILL_UNROLL
    for (int w = 0; w < W; ++w) {
      if (w > 0 && v.last) f = channel_factor_of<T>(layout, factors, u.channel + w);
      r[w] = down<T>(fma_((up(from[w]) - f.mean) * f.rstd, f.weight, f.bias));
    }
    store(out + p.out, r);
  }
}

// ---- gradient -----------------------------------------------------------------------------------
// dx = rstd (gw - mean(gw) - xhat mean(gw xhat)) with gw = g weight, xhat = (x - mean) rstd;
// dweight = sum of g xhat, dbias = sum of g.

// Sums of g and of g xhat of chunk k of cell c at [k * cells + c].
template <class T, int Threads, int Items>
MILL_KERNEL(Threads, 2)
channel_products(Block t, MILL_PARAM(channel_walk) v, MILL_PARAM(channel_layout<acc_t<T>>) layout,
                 int64_t size, int lanes, const acc_t<T>* mean, const acc_t<T>* spread, const T* x,
                 const T* g, two<wide_t<acc_t<T>>>* found) {
  using C = acc_t<T>;
  const channel_factors<T> factors{mean, spread, nullptr, nullptr};
  struct Scratch {
    two<C> slots[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  const channel_share mine = channel_share_of(t, v, size, lanes);
  two<C> all{0, 0};
  if (mine.begin < mine.end) {
    const channel_factor<C> f = channel_factor_of<T>(layout, factors, mine.channel);
    for (int64_t p = mine.begin; p < mine.end; p += Items * mine.height) {
      C a[Items];
      C b[Items];
      MILL_UNROLL
      for (int k = 0; k < Items; ++k) {
        const int64_t at = p + k * mine.height;
        a[k] = 0;
        b[k] = 0;
        if (at >= mine.end) continue;
        const channel_place place = channel_place_of(v, mine.channel, at);
        a[k] = up(g[place.g]);
        b[k] = a[k] * ((up(x[place.x]) - f.mean) * f.rstd);
      }
      all.a += sum_items(a);
      all.b += sum_items(b);
    }
  }
  all = column_reduce(t, s.slots, lanes, all, add_two_op());
  if (t.tid() >= lanes || mine.channel >= v.channels) return;
  using Wide = wide_t<C>;
  const int64_t chunk = t.bid() / ((v.channels + lanes - 1) / lanes);
  found[chunk * v.channels + mine.channel] = {static_cast<Wide>(all.a), static_cast<Wide>(all.b)};
}

// Sums over rows of n pairs, to any of: the pairs themselves; dbias and dweight; their means times
// the weight, which a batch norm's dx needs.
template <class T, int Threads>
MILL_KERNEL(Threads, 2)
channel_totals(Block t, int64_t n, int64_t rows, int lanes, const two<wide_t<acc_t<T>>>* from,
               two<wide_t<acc_t<T>>>* totals, T* dweight, int64_t dweight_stride, T* dbias,
               int64_t dbias_stride, const T* weight, int64_t weight_stride, int64_t count,
               acc_t<T>* sums, acc_t<T>* products) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    two<Wide> slots[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t column = t.bid() * lanes + (t.tid() & (lanes - 1));
  const int64_t end = column < n ? rows : 0;
  two<Wide> all{0, 0};
  for (int64_t r = t.tid() / lanes; r < end; r += t.block_dim() / lanes)
    all = add_two_op()(all, from[r * n + column]);
  all = column_reduce(t, s.slots, lanes, all, add_two_op());
  if (t.tid() >= lanes || column >= n) return;
  if (totals != nullptr) totals[column] = all;
  if (dweight != nullptr) dweight[column * dweight_stride] = down<T>(static_cast<C>(all.b));
  if (dbias != nullptr) dbias[column * dbias_stride] = down<T>(static_cast<C>(all.a));
  if (sums == nullptr) return;
  const Wide share =
      (weight != nullptr ? static_cast<Wide>(up(weight[column * weight_stride])) : Wide(1)) /
      static_cast<Wide>(count);
  sums[column] = static_cast<C>(all.a * share);
  products[column] = static_cast<C>(all.b * share);
}

// Of group norm: the means of gw and gw xhat over a statistic's cells, a warp each.
template <class T, int Threads>
MILL_KERNEL(Threads, 2)
channel_groups(Block t, int64_t stats, int64_t count, int64_t per_stat, int64_t params,
               const T* weight, const two<wide_t<acc_t<T>>>* cells, acc_t<T>* sums,
               acc_t<T>* products) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  const int64_t stat = team_of_grid<kWarp>(t);
  const int64_t first = stat * per_stat;
  const int64_t end = stat < stats ? first + per_stat : first;
  two<Wide> all{0, 0};
  for (int64_t c = first + team_member<kWarp>(t); c < end; c += kWarp) {
    const Wide scale = weight != nullptr
                           ? static_cast<Wide>(up(weight[c - quotient(c, params) * params]))
                           : Wide(1);
    all = add_two_op()(all, two<Wide>{cells[c].a * scale, cells[c].b * scale});
  }
  all = t.warp_reduce(all, add_two_op());
  if (team_member<kWarp>(t) != 0 || stat >= stats) return;
  sums[stat] = static_cast<C>(all.a / static_cast<Wide>(count));
  products[stat] = static_cast<C>(all.b / static_cast<Wide>(count));
}

template <class T, int Threads, int W>
MILL_KERNEL(Threads, 2)
channel_gradient(Flat t, MILL_PARAM(channel_walk) v, MILL_PARAM(channel_units) units,
                 MILL_PARAM(channel_layout<acc_t<T>>) layout, const acc_t<T>* mean,
                 const acc_t<T>* spread, const T* weight, const acc_t<T>* sums,
                 const acc_t<T>* products, const T* x, const T* g, T* dx) {
  using C = acc_t<T>;
  const channel_factors<T> factors{mean, spread, weight, nullptr};
  for (int64_t i = t.global_id(); i < units.count; i += t.global_size()) {
    const channel_unit u = channel_unit_of<W>(v, units, i);
    const channel_place p = channel_place_of(v, u.channel, u.position);
    const vec<T, W> from = load<W>(x + p.x);
    const vec<T, W> slope = load<W>(g + p.g);
    channel_factor<C> f = channel_factor_of<T>(layout, factors, u.channel);
    C sum = sums[f.stat];
    C product = products[f.stat];
    vec<T, W> r;
    MILL_UNROLL
    for (int w = 0; w < W; ++w) {
      if (w > 0 && v.last) {
        f = channel_factor_of<T>(layout, factors, u.channel + w);
        sum = sums[f.stat];
        product = products[f.stat];
      }
      const C normal = (up(from[w]) - f.mean) * f.rstd;
      r[w] = down<T>(fma_(-normal, product, up(slope[w]) * f.weight - sum) * f.rstd);
    }
    store(dx + p.out, r);
  }
}

// ---- running statistics -------------------------------------------------------------------------

template <class C, int Threads>
MILL_KERNEL(Threads, 2)
running_statistics(Flat t, int64_t n, C kept, C mean_share, C variance_share, const C* old_mean,
                   const C* old_variance, const C* mean, const C* variance, C* new_mean,
                   C* new_variance) {
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    if (new_mean != nullptr) new_mean[i] = fma_(mean[i], mean_share, old_mean[i] * kept);
    if (new_variance != nullptr)
      new_variance[i] = fma_(variance[i], variance_share, old_variance[i] * kept);
  }
}
