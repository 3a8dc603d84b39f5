// softmax and log_softmax along an axis, and their gradients. Contiguous rows belong to a team,
// long ones to several blocks in two kernels, rows along another axis to a block of columns.

template <class T, int Team, int W, int Items>
MILL_KERNEL(kTeamThreads<Team>, kTeamBlocks<Team>)
softmax_rows(Block t, bool log, int64_t rows, int n, const T* x, T* out) {
  using C = acc_t<T>;
  struct Scratch {
    C top[kTeamWarps<Team>];
    C sum[kTeamWarps<Team>];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = team_of_grid<Team>(t);
  const int member = team_member<Team>(t);
  const int count = row < rows ? n : 0;
  C v[Items];
  load_items<Team, W>(x + row * n, member, count, kLowest<C>, v);
  const C top = team_reduce<Team>(t, s.top, max_items(v), max_op());
  C e[Items];
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) {
    v[k] -= top;
    e[k] = item_at<Team, W>(member, k) < count ? exp_(v[k]) : C(0);
  }
  const C sum = team_reduce<Team>(t, s.sum, sum_items(e), add_op());
  if (log) {
    const C log_sum = log_(sum);
    MILL_UNROLL
    for (int k = 0; k < Items; ++k) e[k] = v[k] - log_sum;
  } else {
    const C scale = 1 / sum;
    MILL_UNROLL
    for (int k = 0; k < Items; ++k) e[k] *= scale;
  }
  store_items<Team, W>(out + row * n, member, count, e);
}

// Of one part of a row, or of several.
template <class C>
struct soft_stats {
  C top;
  wide_t<C> sum;  // of e^(x - top)
};

template <class T, int Threads, int W, int Items>
MILL_KERNEL(Threads, 2)
softmax_part(Block t, int64_t n, int64_t parts, const T* x, soft_stats<acc_t<T>>* stats) {
  using C = acc_t<T>;
  struct Scratch {
    C top[Threads / kWarp];
    C sum[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * (Threads * Items);
  const int count = static_cast<int>(n - begin < Threads * Items ? n - begin : Threads * Items);
  C v[Items];
  load_items<Threads, W>(x + row * n + begin, t.tid(), count, kLowest<C>, v);
  const C top = team_reduce<Threads>(t, s.top, max_items(v), max_op());
  const C shift = finite_top(top);
  MILL_UNROLL
  for (int k = 0; k < Items; ++k)
    v[k] = item_at<Threads, W>(t.tid(), k) < count ? exp_(v[k] - shift) : C(0);
  const C sum = team_reduce<Threads>(t, s.sum, sum_items(v), add_op());
  if (t.tid() == 0) stats[t.bid()] = {top, static_cast<wide_t<C>>(sum)};
}

template <class T, int Threads, int W, int Items>
MILL_KERNEL(Threads, 2)
softmax_apply(Block t, bool log, int64_t n, int64_t parts, const soft_stats<acc_t<T>>* stats,
              const T* x, T* out) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    C top[Threads / kWarp];
    Wide sum[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * (Threads * Items);
  const int count = static_cast<int>(n - begin < Threads * Items ? n - begin : Threads * Items);
  const soft_stats<C>* mine = stats + row * parts;
  C top = kLowest<C>;
  for (int64_t p = t.tid(); p < parts; p += Threads) top = max_op()(mine[p].top, top);
  top = team_reduce<Threads>(t, s.top, top, max_op());
  Wide total = 0;
  for (int64_t p = t.tid(); p < parts; p += Threads)
    total += mine[p].sum * static_cast<Wide>(exp_(mine[p].top - top));
  total = team_reduce<Threads>(t, s.sum, total, add_op());
  const auto sum = static_cast<C>(total);
  C v[Items];
  load_items<Threads, W>(x + row * n + begin, t.tid(), count, C(0), v);
  const C last = log ? log_(sum) : 1 / sum;
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) {
    const C distance = v[k] - top;
    v[k] = log ? distance - last : exp_(distance) * last;
  }
  store_items<Threads, W>(out + row * n + begin, t.tid(), count, v);
}

// Rows whose elements are `inner` apart: a block does `lanes` neighbouring ones, its other lanes
// share their elements.
template <class T, int Threads>
MILL_KERNEL(Threads, 2)
softmax_columns(Block t, bool log, int64_t n, int64_t inner, int lanes, const T* x, T* out) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    C top[Threads];
    Wide sum[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  constexpr int U = 8;
  const int64_t tiles = (inner + lanes - 1) / lanes;
  const int64_t outer = t.bid() / tiles;
  const int64_t column = (t.bid() - outer * tiles) * lanes + (t.tid() & (lanes - 1));
  const int height = t.block_dim() / lanes;
  const int first = t.tid() / lanes;
  const int64_t end = column < inner ? n : 0;
  const int64_t base = outer * n * inner + column;
  C top = kLowest<C>;
  Wide total = 0;
  for (int64_t k = first; k < end; k += U * height) {
    C v[U];
    MILL_UNROLL
    for (int u = 0; u < U; ++u) {
      const int64_t at = k + u * height;
      v[u] = at < end ? up(x[base + at * inner]) : kLowest<C>;
    }
    const C next = max_op()(max_items(v), top);
    const C shift = finite_top(next);
    MILL_UNROLL
    for (int u = 0; u < U; ++u) v[u] = k + u * height < end ? exp_(v[u] - shift) : C(0);
    total = total * static_cast<Wide>(exp_(top - shift)) + static_cast<Wide>(sum_items(v));
    top = next;
  }
  s.top[t.tid()] = top;
  s.sum[t.tid()] = total;
  t.barrier();
  for (int half = height / 2; half > 0; half /= 2) {
    if (first < half) {
      const int other = t.tid() + half * lanes;
      const C next = max_op()(s.top[other], top);
      const C shift = finite_top(next);
      total = total * static_cast<Wide>(exp_(top - shift)) +
              s.sum[other] * static_cast<Wide>(exp_(s.top[other] - shift));
      top = next;
      s.top[t.tid()] = top;
      s.sum[t.tid()] = total;
    }
    t.barrier();
  }
  top = s.top[t.tid() & (lanes - 1)];
  const auto sum = static_cast<C>(s.sum[t.tid() & (lanes - 1)]);
  const C last = log ? log_(sum) : 1 / sum;
  for (int64_t k = first; k < end; k += height) {
    const C distance = up(x[base + k * inner]) - top;
    out[base + k * inner] = down<T>(log ? distance - last : exp_(distance) * last);
  }
}

// ---- gradients ----------------------------------------------------------------------------------

// What is summed over the axis, and what follows from it: y (g - sum(g y)) or g - e^y sum(g).
template <class C>
MILL_DEVICE C soft_gradient_term(bool log, C g, C y) {
  return log ? g : g * y;
}
template <class C>
MILL_DEVICE C soft_gradient(bool log, C g, C y, C sum) {
  return log ? fma_(-exp_(y), sum, g) : y * (g - sum);
}

template <class T, int Team, int W, int Items>
MILL_KERNEL(kTeamThreads<Team>, kTeamBlocks<Team>)
softmax_backward_rows(Block t, bool log, int64_t rows, int n, const T* g, const T* y, T* out) {
  using C = acc_t<T>;
  struct Scratch {
    C sum[kTeamWarps<Team>];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = team_of_grid<Team>(t);
  const int member = team_member<Team>(t);
  const int count = row < rows ? n : 0;
  C a[Items];
  C b[Items];
  C terms[Items];
  load_items<Team, W>(g + row * n, member, count, C(0), a);
  load_items<Team, W>(y + row * n, member, count, C(0), b);
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) terms[k] = soft_gradient_term(log, a[k], b[k]);
  const C sum = team_reduce<Team>(t, s.sum, sum_items(terms), add_op());
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) a[k] = soft_gradient(log, a[k], b[k], sum);
  store_items<Team, W>(out + row * n, member, count, a);
}

template <class T, int Threads, int W, int Items>
MILL_KERNEL(Threads, 2)
softmax_backward_part(Block t, bool log, int64_t n, int64_t parts, const T* g, const T* y,
                      wide_t<acc_t<T>>* sums) {
  using C = acc_t<T>;
  struct Scratch {
    C sum[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * (Threads * Items);
  const int count = static_cast<int>(n - begin < Threads * Items ? n - begin : Threads * Items);
  C a[Items];
  C b[Items];
  load_items<Threads, W>(g + row * n + begin, t.tid(), count, C(0), a);
  load_items<Threads, W>(y + row * n + begin, t.tid(), count, C(0), b);
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) a[k] = soft_gradient_term(log, a[k], b[k]);
  const C sum = team_reduce<Threads>(t, s.sum, sum_items(a), add_op());
  if (t.tid() == 0) sums[t.bid()] = static_cast<wide_t<C>>(sum);
}

template <class T, int Threads, int W, int Items>
MILL_KERNEL(Threads, 2)
softmax_backward_apply(Block t, bool log, int64_t n, int64_t parts, const wide_t<acc_t<T>>* sums,
                       const T* g, const T* y, T* out) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    Wide sum[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * (Threads * Items);
  const int count = static_cast<int>(n - begin < Threads * Items ? n - begin : Threads * Items);
  Wide total = 0;
  for (int64_t p = t.tid(); p < parts; p += Threads) total += sums[row * parts + p];
  const auto sum = static_cast<C>(team_reduce<Threads>(t, s.sum, total, add_op()));
  C a[Items];
  C b[Items];
  load_items<Threads, W>(g + row * n + begin, t.tid(), count, C(0), a);
  load_items<Threads, W>(y + row * n + begin, t.tid(), count, C(0), b);
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) a[k] = soft_gradient(log, a[k], b[k], sum);
  store_items<Threads, W>(out + row * n + begin, t.tid(), count, a);
}

template <class T, int Threads>
MILL_KERNEL(Threads, 2)
softmax_backward_columns(Block t, bool log, int64_t n, int64_t inner, int lanes, const T* g,
                         const T* y, T* out) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    Wide sum[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  constexpr int U = 4;
  const int64_t tiles = (inner + lanes - 1) / lanes;
  const int64_t outer = t.bid() / tiles;
  const int64_t column = (t.bid() - outer * tiles) * lanes + (t.tid() & (lanes - 1));
  const int height = t.block_dim() / lanes;
  const int first = t.tid() / lanes;
  const int64_t end = column < inner ? n : 0;
  const int64_t base = outer * n * inner + column;
  Wide total = 0;
  for (int64_t k = first; k < end; k += U * height) {
    C v[U];
    MILL_UNROLL
    for (int u = 0; u < U; ++u) {
      const int64_t at = base + (k + u * height) * inner;
      v[u] = k + u * height < end ? soft_gradient_term(log, up(g[at]), up(y[at])) : C(0);
    }
    total += static_cast<Wide>(sum_items(v));
  }
  s.sum[t.tid()] = total;
  t.barrier();
  for (int half = height / 2; half > 0; half /= 2) {
    if (first < half) s.sum[t.tid()] += s.sum[t.tid() + half * lanes];
    t.barrier();
  }
  const auto sum = static_cast<C>(s.sum[t.tid() & (lanes - 1)]);
  for (int64_t k = first; k < end; k += height) {
    const int64_t at = base + k * inner;
    out[at] = down<T>(soft_gradient(log, up(g[at]), up(y[at]), sum));
  }
}
