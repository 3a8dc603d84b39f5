// Pooling: a thread has an element of the result, or of the gradient, and looks at every window or
// tap that belongs to it. Sums are in the order of the windows.

// The taps of one output along one axis.
struct pool_taps {
  int64_t begin, end;  // numbers of taps that fall into the input
  int64_t start;       // position of tap 0
  int64_t counted;     // taps in the input and its padding
};

MILL_DEVICE int64_t pool_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

MILL_DEVICE pool_taps pool_taps_of(const mill::kernels::PoolAxis& a, int64_t out) {
  pool_taps t;
  t.start = out * a.stride - a.low;
  t.begin = t.start < 0 ? pool_up(-t.start, a.dilation) : 0;
  const int64_t end = pool_up(a.in - t.start, a.dilation);
  const int64_t counted = pool_up(a.in + a.high - t.start, a.dilation);
  t.end = end < a.kernel ? end : a.kernel;
  t.counted = counted < a.kernel ? counted : a.kernel;
  return t;
}

struct pool_span {
  int64_t begin, end;
};
// Windows along one axis that may see an element of the input.
MILL_DEVICE pool_span pool_windows_at(const mill::kernels::PoolAxis& a, int64_t in) {
  const int64_t last = in + a.low;
  const int64_t first = last - (a.kernel - 1) * a.dilation;
  const int64_t end = last / a.stride + 1;
  return {first <= 0 ? 0 : pool_up(first, a.stride), end < a.out ? end : a.out};
}
MILL_DEVICE bool pool_taps_on(const mill::kernels::PoolAxis& a, int64_t out, int64_t in) {
  return a.dilation == 1 || (in + a.low - out * a.stride) % a.dilation == 0;
}

// An element of [batch, channels, spatial axes]; neighbouring threads have neighbouring channels
// where those are next to one another in memory, else neighbouring columns.
struct pool_element {
  int64_t batch, channel, at[3];
};
MILL_DEVICE pool_element pool_element_of(const mill::kernels::PoolWindow& w, bool of_input,
                                         bool channels_first, int64_t i) {
  pool_element e;
  const int64_t space = channels_first ? i / w.channels : i;
  if (channels_first) e.channel = i - space * w.channels;
  int64_t rest = space;
  for (int a = 2; a >= 0; --a) {
    const int64_t n = of_input ? w.axis[a].in : w.axis[a].out;
    const int64_t next = rest / n;
    e.at[a] = rest - next * n;
    rest = next;
  }
  e.batch = channels_first ? rest : rest / w.channels;
  if (!channels_first) e.channel = rest - e.batch * w.channels;
  return e;
}

MILL_DEVICE int64_t pool_offset(const mill::kernels::PoolStrides& s, const pool_element& e,
                                int64_t z, int64_t y, int64_t x) {
  return e.batch * s.batch + e.channel * s.channel + z * s.space[0] + y * s.space[1] +
         x * s.space[2];
}

template <class T, int Threads>
MILL_KERNEL(Threads, 2)
max_pool_cells(Flat t, MILL_PARAM(mill::kernels::PoolWindow) w, int64_t n, bool channels_first,
               const T* x, T* out, int64_t* index) {
  using C = acc_t<T>;
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const pool_element e = pool_element_of(w, false, channels_first, i);
    const pool_taps z = pool_taps_of(w.axis[0], e.at[0]);
    const pool_taps y = pool_taps_of(w.axis[1], e.at[1]);
    const pool_taps c = pool_taps_of(w.axis[2], e.at[2]);
    C best = 0;
    int64_t place = -1;
    for (int64_t a = z.begin; a < z.end; ++a) {
      const int64_t pz = z.start + a * w.axis[0].dilation;
      for (int64_t b = y.begin; b < y.end; ++b) {
        const int64_t py = y.start + b * w.axis[1].dilation;
        for (int64_t k = c.begin; k < c.end; ++k) {
          const int64_t px = c.start + k * w.axis[2].dilation;
          const C v = up(x[pool_offset(w.in, e, pz, py, px)]);
          if (place >= 0 && !(v > best) && !(is_nan_(v) && !is_nan_(best))) continue;
          best = v;
          place = (pz * w.axis[1].in + py) * w.axis[2].in + px;
        }
      }
    }
    if (out != nullptr) out[pool_offset(w.out, e, e.at[0], e.at[1], e.at[2])] = down<T>(best);
    if (index != nullptr) index[pool_offset(w.index, e, e.at[0], e.at[1], e.at[2])] = place;
  }
}

MILL_DEVICE int64_t pool_divisor(const mill::kernels::PoolWindow& w, const pool_taps& z,
                                 const pool_taps& y, const pool_taps& x) {
  if (w.count_padding) return z.counted * y.counted * x.counted;
  return (z.end - z.begin) * (y.end - y.begin) * (x.end - x.begin);
}

template <class T, int Threads>
MILL_KERNEL(Threads, 2)
avg_pool_cells(Flat t, MILL_PARAM(mill::kernels::PoolWindow) w, int64_t n, bool channels_first,
               const T* x, T* out) {
  using C = acc_t<T>;
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const pool_element e = pool_element_of(w, false, channels_first, i);
    const pool_taps z = pool_taps_of(w.axis[0], e.at[0]);
    const pool_taps y = pool_taps_of(w.axis[1], e.at[1]);
    const pool_taps c = pool_taps_of(w.axis[2], e.at[2]);
    C sum = 0;
    for (int64_t a = z.begin; a < z.end; ++a) {
      const int64_t pz = z.start + a * w.axis[0].dilation;
      for (int64_t b = y.begin; b < y.end; ++b) {
        const int64_t py = y.start + b * w.axis[1].dilation;
        C line = 0;
        for (int64_t k = c.begin; k < c.end; ++k)
          line += up(x[pool_offset(w.in, e, pz, py, c.start + k * w.axis[2].dilation)]);
        sum += line;
      }
    }
    out[pool_offset(w.out, e, e.at[0], e.at[1], e.at[2])] =
        down<T>(sum / static_cast<C>(pool_divisor(w, z, y, c)));
  }
}

// ---- gradients ----------------------------------------------------------------------------------

// The gradient by the input: index NULL for averages.
template <class T, int Threads>
MILL_KERNEL(Threads, 2)
pool_gradient_cells(Flat t, MILL_PARAM(mill::kernels::PoolWindow) w, int64_t n, bool channels_first,
                    const T* g, const int64_t* index, T* out) {
  using C = acc_t<T>;
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const pool_element e = pool_element_of(w, true, channels_first, i);
    const pool_span z = pool_windows_at(w.axis[0], e.at[0]);
    const pool_span y = pool_windows_at(w.axis[1], e.at[1]);
    const pool_span x = pool_windows_at(w.axis[2], e.at[2]);
    const int64_t place = (e.at[0] * w.axis[1].in + e.at[1]) * w.axis[2].in + e.at[2];
    C sum = 0;
    for (int64_t a = z.begin; a < z.end; ++a) {
      if (!pool_taps_on(w.axis[0], a, e.at[0])) continue;
      for (int64_t b = y.begin; b < y.end; ++b) {
        if (!pool_taps_on(w.axis[1], b, e.at[1])) continue;
        for (int64_t k = x.begin; k < x.end; ++k) {
          if (!pool_taps_on(w.axis[2], k, e.at[2])) continue;
          if (index == nullptr) {
            const int64_t count =
                pool_divisor(w, pool_taps_of(w.axis[0], a), pool_taps_of(w.axis[1], b),
                             pool_taps_of(w.axis[2], k));
            sum += up(g[pool_offset(w.out, e, a, b, k)]) / static_cast<C>(count);
          } else if (index[pool_offset(w.index, e, a, b, k)] == place) {
            sum += up(g[pool_offset(w.out, e, a, b, k)]);
          }
        }
      }
    }
    out[pool_offset(w.in, e, e.at[0], e.at[1], e.at[2])] = down<T>(sum);
  }
}
