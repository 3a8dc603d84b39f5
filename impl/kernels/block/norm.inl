// Layer normalisation (Ba, Kiros and Hinton, 2016), RMS normalisation (Zhang and Sennrich, 2019),
// which does not centre, and their gradients. Rows that fit belong to a
// team, longer ones to several blocks. The gradients of weight and bias are sums over rows: the
// teams that find dx add up their own rows on the way, and a second kernel adds up the teams in
// order.

// weight[i] and bias[i], which may be absent, as a vector.
template <int W, class T>
MILL_DEVICE void load_or(const T* p, int64_t i, acc_t<T> absent, acc_t<T> (&v)[W]) {
  if (p != nullptr) {
    const vec<T, W> x = load<W>(p + i);
    MILL_UNROLL
    for (int w = 0; w < W; ++w) v[w] = up(x[w]);
  } else {
    MILL_UNROLL
    for (int w = 0; w < W; ++w) v[w] = absent;
  }
}

// out = (x - mean) rstd weight + bias for what a member keeps of a row from column `begin` on.
template <int Team, int W, class T, int Items>
MILL_DEVICE void store_normal(const acc_t<T> (&x)[Items], acc_t<T> mean, acc_t<T> rstd,
                              const T* weight, const T* bias, int64_t begin, int member, int count,
                              T* out) {
  using C = acc_t<T>;
  MILL_UNROLL
  for (int k = 0; k < Items; k += W) {
    const int i = item_at<Team, W>(member, k);
    if (i >= count) continue;
    C scale[W];
    C shift[W];
    load_or<W>(weight, begin + i, C(1), scale);
    load_or<W>(bias, begin + i, C(0), shift);
    vec<T, W> r;
    MILL_UNROLL
    for (int w = 0; w < W; ++w) r[w] = down<T>(fma_((x[k + w] - mean) * rstd, scale[w], shift[w]));
    store(out + i, r);
  }
}

// What a member keeps of a row of x, or of x + residual: the sums as they are stored, for backward
// has no others.
template <int Team, int W, bool Residual, class T, int Items>
MILL_DEVICE void load_sum(const T* x, const T* residual, int64_t first, int member, int count,
                          acc_t<T> (&v)[Items]) {
  using C = acc_t<T>;
  load_items<Team, W>(x + first, member, count, C(0), v);
  if constexpr (Residual) {
    C more[Items];
    load_items<Team, W>(residual + first, member, count, C(0), more);
    MILL_UNROLL
    for (int k = 0; k < Items; ++k) v[k] = up(down<T>(v[k] + more[k]));
  }
}

template <int Team, int W, class T, int Items>
MILL_DEVICE void store_sum(const acc_t<T> (&v)[Items], int member, int count, T* to) {
  MILL_UNROLL
  for (int k = 0; k < Items; k += W) {
    const int i = item_at<Team, W>(member, k);
    if (i >= count) continue;
    vec<T, W> r;
    MILL_UNROLL
    for (int w = 0; w < W; ++w) r[w] = down<T>(v[k + w]);
    store(to + i, r);
  }
}

// Residual: is added to x, and the sums go to sum_out unless that is absent. Otherwise both are
// null.
template <class T, int Team, int W, int Items, bool Residual, bool Centred>
MILL_KERNEL(kTeamThreads<Team>, kTeamBlocks<Team>)
layer_norm_rows(Block t, int64_t rows, int n, acc_t<T> eps, const T* x, const T* residual,
                const T* weight, const T* bias, T* out, T* sum_out, acc_t<T>* mean_out,
                acc_t<T>* rstd_out) {
  using C = acc_t<T>;
  struct Scratch {
    C sum[kTeamWarps<Team>];
    C squares[kTeamWarps<Team>];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = team_of_grid<Team>(t);
  const int member = team_member<Team>(t);
  const int count = row < rows ? n : 0;
  C v[Items];
  load_sum<Team, W, Residual>(x, residual, row * n, member, count, v);
  if (Residual && sum_out != nullptr) store_sum<Team, W>(v, member, count, sum_out + row * n);
  C mean = 0;
  if constexpr (Centred)
    mean = team_reduce<Team>(t, s.sum, sum_items(v), add_op()) / static_cast<C>(n);
  C d[Items];
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) {
    const C distance = item_at<Team, W>(member, k) < count ? v[k] - mean : C(0);
    d[k] = distance * distance;
  }
  const C variance = team_reduce<Team>(t, s.squares, sum_items(d), add_op()) / static_cast<C>(n);
  const C rstd = 1 / sqrt_(variance + eps);
  if (member == 0 && row < rows) {
    if (mean_out != nullptr) mean_out[row] = mean;
    if (rstd_out != nullptr) rstd_out[row] = rstd;
  }
  store_normal<Team, W>(v, mean, rstd, weight, bias, 0, member, count, out + row * n);
}

// Mean and sum of squared distances from it, of a part of a row.
template <class C>
struct moments {
  wide_t<C> mean;
  wide_t<C> squares;
};

template <class T, int Threads, int W, int Items, bool Residual, bool Centred>
MILL_KERNEL(Threads, 2)
layer_norm_part(Block t, int64_t n, int64_t parts, const T* x, const T* residual,
                moments<acc_t<T>>* found) {
  using C = acc_t<T>;
  struct Scratch {
    C sum[Threads / kWarp];
    C squares[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * (Threads * Items);
  const int count = static_cast<int>(n - begin < Threads * Items ? n - begin : Threads * Items);
  C v[Items];
  load_sum<Threads, W, Residual>(x, residual, row * n + begin, t.tid(), count, v);
  C mean = 0;
  if constexpr (Centred)
    mean = team_reduce<Threads>(t, s.sum, sum_items(v), add_op()) / static_cast<C>(count);
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) {
    const C distance = item_at<Threads, W>(t.tid(), k) < count ? v[k] - mean : C(0);
    v[k] = distance * distance;
  }
  const C squares = team_reduce<Threads>(t, s.squares, sum_items(v), add_op());
  if (t.tid() == 0)
    found[t.bid()] = {static_cast<wide_t<C>>(mean), static_cast<wide_t<C>>(squares)};
}

// Moments of parts joined: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for
// Computing Sample Variances" (1979).
template <class T, int Threads, int W, int Items, bool Residual, bool Centred>
MILL_KERNEL(Threads, 2)
layer_norm_apply(Block t, int64_t n, int64_t parts, acc_t<T> eps, const moments<acc_t<T>>* found,
                 const T* x, const T* residual, const T* weight, const T* bias, T* out, T* sum_out,
                 acc_t<T>* mean_out, acc_t<T>* rstd_out) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  constexpr int kPart = Threads * Items;
  struct Scratch {
    Wide sum[Threads / kWarp];
    Wide squares[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * kPart;
  const int count = static_cast<int>(n - begin < kPart ? n - begin : kPart);
  const moments<C>* from = found + row * parts;
  const Wide share = 1 / static_cast<Wide>(n);
  Wide mean = 0;
  if constexpr (Centred) {
    for (int64_t p = t.tid(); p < parts; p += Threads)
      mean += static_cast<Wide>(n - p * kPart < kPart ? n - p * kPart : kPart) * from[p].mean;
    mean = team_reduce<Threads>(t, s.sum, mean, add_op()) * share;
  }
  Wide squares = 0;
  for (int64_t p = t.tid(); p < parts; p += Threads) {
    const Wide distance = from[p].mean - mean;
    squares += from[p].squares + static_cast<Wide>(n - p * kPart < kPart ? n - p * kPart : kPart) *
                                     distance * distance;
  }
  squares = team_reduce<Threads>(t, s.squares, squares, add_op());
  const auto center = static_cast<C>(mean);
  const C rstd = 1 / sqrt_(static_cast<C>(squares * share) + eps);
  if (begin == 0 && t.tid() == 0) {
    if (mean_out != nullptr) mean_out[row] = center;
    if (rstd_out != nullptr) rstd_out[row] = rstd;
  }
  C v[Items];
  load_sum<Threads, W, Residual>(x, residual, row * n + begin, t.tid(), count, v);
  if (Residual && sum_out != nullptr)
    store_sum<Threads, W>(v, t.tid(), count, sum_out + row * n + begin);
  store_normal<Threads, W>(v, center, rstd, weight, bias, begin, t.tid(), count,
                           out + row * n + begin);
}

// ---- gradient -----------------------------------------------------------------------------------
// dx = rstd (gw - mean(gw) - xhat mean(gw xhat)) with gw = g weight, xhat = (x - mean) rstd;
// dweight = sum of g xhat, dbias = sum of g over the rows. Not centred, mean is null and taken as
// 0, and dx = rstd (gw - xhat mean(gw xhat)).

// What a member keeps of g and of xhat; adds its sums of gw and gw xhat.
template <int Team, int W, class T, int Items>
MILL_DEVICE two<acc_t<T>> load_gradient(const T* g, const T* x, const T* weight, int64_t begin,
                                        acc_t<T> mean, acc_t<T> rstd, int member, int count,
                                        acc_t<T> (&gs)[Items], acc_t<T> (&normal)[Items]) {
  using C = acc_t<T>;
  load_items<Team, W>(g, member, count, C(0), gs);
  load_items<Team, W>(x, member, count, mean, normal);
  C a[Items];
  C b[Items];
  MILL_UNROLL
  for (int k = 0; k < Items; k += W) {
    const int i = item_at<Team, W>(member, k);
    C scale[W];
    load_or<W>(i < count ? weight : nullptr, begin + i, C(1), scale);
    MILL_UNROLL
    for (int w = 0; w < W; ++w) {
      normal[k + w] = (normal[k + w] - mean) * rstd;
      a[k + w] = gs[k + w] * scale[w];
      b[k + w] = a[k + w] * normal[k + w];
    }
  }
  return {sum_items(a), sum_items(b)};
}

template <int Team, int W, class T, int Items>
MILL_DEVICE void store_gradient(const acc_t<T> (&gs)[Items], const acc_t<T> (&normal)[Items],
                                const T* weight, int64_t begin, acc_t<T> shift, acc_t<T> slope,
                                acc_t<T> rstd, int member, int count, T* dx) {
  using C = acc_t<T>;
  MILL_UNROLL
  for (int k = 0; k < Items; k += W) {
    const int i = item_at<Team, W>(member, k);
    if (i >= count) continue;
    C scale[W];
    load_or<W>(weight, begin + i, C(1), scale);
    vec<T, W> r;
    MILL_UNROLL
    for (int w = 0; w < W; ++w) {
      const C rest = fma_(-normal[k + w], slope, gs[k + w] * scale[w] - shift);
      r[w] = down<T>(rest * rstd);
    }
    store(dx + i, r);
  }
}

// Team k of `teams` does rows k, k + teams, ... and leaves two rows of sums in partial: of g xhat,
// of g. dx or partial may be absent.
template <class T, int Team, int W, int Items, bool Centred>
MILL_KERNEL(kTeamThreads<Team>, kTeamBlocks<Team>)
layer_norm_backward_rows(Block t, int64_t rows, int n, int64_t teams, const T* g, const T* x,
                         const T* weight, const acc_t<T>* mean, const acc_t<T>* rstd, T* dx,
                         acc_t<T>* partial) {
  using C = acc_t<T>;
  struct Scratch {
    two<C> sums[2][kTeamWarps<Team>];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t team = team_of_grid<Team>(t);
  const int member = team_member<Team>(t);
  C dweight[Items];
  C dbias[Items];
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) {
    dweight[k] = 0;
    dbias[k] = 0;
  }
  int turn = 0;
  // All teams of a block go round equally often.
  for (int64_t first = 0; first < rows; first += teams) {
    const int64_t row = first + team;
    const bool live = team < teams && row < rows;
    const int count = live ? n : 0;
    const C center = Centred && live ? mean[row] : C(0);
    const C scale = live ? rstd[row] : C(0);
    C gs[Items];
    C normal[Items];
    two<C> sums = load_gradient<Team, W>(g + row * n, x + row * n, weight, 0, center, scale, member,
                                         count, gs, normal);
    if (dx != nullptr) {
      sums = team_reduce<Team>(t, s.sums[turn], sums, add_two_op());
      turn ^= 1;
      store_gradient<Team, W>(gs, normal, weight, 0, Centred ? sums.a / static_cast<C>(n) : C(0),
                              sums.b / static_cast<C>(n), scale, member, count, dx + row * n);
    }
    MILL_UNROLL
    for (int k = 0; k < Items; ++k) {
      dweight[k] = fma_(gs[k], normal[k], dweight[k]);
      dbias[k] += gs[k];
    }
  }
  if (partial == nullptr || team >= teams) return;
  constexpr int P = W * sizeof(C) > 16 ? static_cast<int>(16 / sizeof(C)) : W;
  C* to = partial + 2 * team * n;
  MILL_UNROLL
  for (int k = 0; k < Items; k += P) {
    const int i = item_at<Team, W>(member, k);
    if (i >= n) continue;
    vec<C, P> a;
    vec<C, P> b;
    MILL_UNROLL
    for (int w = 0; w < P; ++w) {
      a[w] = dweight[k + w];
      b[w] = dbias[k + w];
    }
    store(to + i, a);
    store(to + n + i, b);
  }
}

template <class T, int Threads, int W, int Items, bool Centred>
MILL_KERNEL(Threads, 2)
layer_norm_backward_part(Block t, int64_t n, int64_t parts, const T* g, const T* x, const T* weight,
                         const acc_t<T>* mean, const acc_t<T>* rstd, two<wide_t<acc_t<T>>>* found) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    two<C> sums[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * (Threads * Items);
  const int count = static_cast<int>(n - begin < Threads * Items ? n - begin : Threads * Items);
  C gs[Items];
  C normal[Items];
  two<C> sums =
      load_gradient<Threads, W>(g + row * n + begin, x + row * n + begin, weight, begin,
                                Centred ? mean[row] : C(0), rstd[row], t.tid(), count, gs, normal);
  sums = team_reduce<Threads>(t, s.sums, sums, add_two_op());
  if (t.tid() == 0) found[t.bid()] = {static_cast<Wide>(sums.a), static_cast<Wide>(sums.b)};
}

template <class T, int Threads, int W, int Items, bool Centred>
MILL_KERNEL(Threads, 2)
layer_norm_backward_apply(Block t, int64_t n, int64_t parts, const T* g, const T* x,
                          const T* weight, const acc_t<T>* mean, const acc_t<T>* rstd,
                          const two<wide_t<acc_t<T>>>* found, T* dx) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    two<Wide> sums[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * (Threads * Items);
  const int count = static_cast<int>(n - begin < Threads * Items ? n - begin : Threads * Items);
  two<Wide> sums{0, 0};
  for (int64_t p = t.tid(); p < parts; p += Threads)
    sums = add_two_op()(sums, found[row * parts + p]);
  sums = team_reduce<Threads>(t, s.sums, sums, add_two_op());
  const Wide share = 1 / static_cast<Wide>(n);
  C gs[Items];
  C normal[Items];
  load_gradient<Threads, W>(g + row * n + begin, x + row * n + begin, weight, begin,
                            Centred ? mean[row] : C(0), rstd[row], t.tid(), count, gs, normal);
  store_gradient<Threads, W>(
      gs, normal, weight, begin, Centred ? static_cast<C>(sums.a * share) : C(0),
      static_cast<C>(sums.b * share), rstd[row], t.tid(), count, dx + row * n + begin);
}

// dweight and dbias of long rows: a block sums `size` rows of a tile of columns.
template <class T, int Threads, bool Centred>
MILL_KERNEL(Threads, 2)
layer_norm_backward_columns(Block t, int64_t rows, int64_t n, int64_t size, int lanes, const T* g,
                            const T* x, const acc_t<T>* mean, const acc_t<T>* rstd,
                            acc_t<T>* partial) {
  using C = acc_t<T>;
  struct Scratch {
    two<C> sums[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t tiles = (n + lanes - 1) / lanes;
  const int64_t chunk = t.bid() / tiles;
  const int64_t column = (t.bid() - chunk * tiles) * lanes + (t.tid() & (lanes - 1));
  const int height = t.block_dim() / lanes;
  const int first = t.tid() / lanes;
  const int64_t begin = chunk * size;
  const int64_t end = column >= n ? begin : rows - begin < size ? rows : begin + size;
  two<C> sums{0, 0};
  for (int64_t r = begin + first; r < end; r += height) {
    const C gradient = up(g[r * n + column]);
    sums.a = fma_(gradient, (up(x[r * n + column]) - (Centred ? mean[r] : C(0))) * rstd[r], sums.a);
    sums.b += gradient;
  }
  s.sums[t.tid()] = sums;
  t.barrier();
  for (int half = height / 2; half > 0; half /= 2) {
    if (first < half) {
      sums = add_two_op()(sums, s.sums[t.tid() + half * lanes]);
      s.sums[t.tid()] = sums;
    }
    t.barrier();
  }
  if (first != 0 || column >= n) return;
  partial[2 * chunk * n + column] = sums.a;
  partial[(2 * chunk + 1) * n + column] = sums.b;
}

// The partial rows of dweight and dbias, either of which may be absent, in order.
template <class T, int Threads>
MILL_KERNEL(Threads, 2)
layer_norm_parameters(Block t, int64_t n, int64_t parts, int lanes, const acc_t<T>* partial,
                      T* dweight, T* dbias) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    Wide sum[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  constexpr int U = 4;
  const int64_t column = t.bid() * lanes + (t.tid() & (lanes - 1));
  const int height = t.block_dim() / lanes;
  const int first = t.tid() / lanes;
  const bool live = column < 2 * n && (column < n ? dweight : dbias) != nullptr;
  const int64_t end = live ? parts : 0;
  Wide sum = 0;
  for (int64_t p = first; p < end; p += U * height) {
    C v[U];
    MILL_UNROLL
    for (int u = 0; u < U; ++u)
      v[u] = p + u * height < end ? partial[2 * (p + u * height) * n + column] : C(0);
    MILL_UNROLL
    for (int u = 0; u < U; ++u) sum += static_cast<Wide>(v[u]);
  }
  s.sum[t.tid()] = sum;
  t.barrier();
  for (int half = height / 2; half > 0; half /= 2) {
    if (first < half) {
      sum += s.sum[t.tid() + half * lanes];
      s.sum[t.tid()] = sum;
    }
    t.barrier();
  }
  if (!live || first != 0) return;
  (column < n ? dweight + column : dbias + (column - n))[0] = down<T>(static_cast<C>(sum));
}
