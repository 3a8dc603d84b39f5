// Recurrent networks, a launch for each step: a block of 16 by 16 threads takes 16 units of 32
// rows, a thread two rows of one unit with all its gates, so that the functions follow the products
// where the sums are. States and gradients pass from step to step in the type that sums are kept
// in. After ids.inl.

inline constexpr int kRecurrentThreads = 256;
inline constexpr int kRecurrentLine = 16;  // units of a block
inline constexpr int kRecurrentEach = 2;   // rows of a thread
inline constexpr int kRecurrentRows = kRecurrentThreads / kRecurrentLine * kRecurrentEach;
inline constexpr int kRecurrentDepth = 32;

using mill::functors::Recurrent;

struct recurrent_place {
  int64_t steps, batch, units;
  int64_t unit_tiles;
  int64_t time;    // of the step
  int64_t before;  // of the step before it, outside [0, steps) where there is none
  bool reverse, relu;
  int index_dtype;  // of the lengths
};

// Whether a step counts for a sequence. Lengths outside [0, steps] are reported at the start.
MILL_DEVICE bool recurrent_counts(const recurrent_place& p, const void* lengths, int64_t row,
                                  int64_t time) {
  if (lengths == nullptr) return true;
  const int64_t n = id_at(lengths, p.index_dtype, row);
  return is_row(n, p.steps + 1) && time < n;
}

// The states before the first step.
template <class T, int Threads>
MILL_KERNEL(Threads, 2)
recurrent_begin(Flat t, MILL_PARAM(recurrent_place) p, int32_t op, int32_t argument,
                const void* lengths, const T* first, const T* second, acc_t<T>* to_first,
                acc_t<T>* to_second, fault_slot* faults) {
  for (int64_t i = t.global_id(); i < p.batch; i += t.global_size()) {
    if (lengths == nullptr) continue;
    const int64_t n = id_at(lengths, p.index_dtype, i);
    if (!is_row(n, p.steps + 1)) raise_fault(faults, op, argument, i, n, 0, p.steps + 1);
  }
  for (int64_t i = t.global_id(); i < p.batch * p.units; i += t.global_size()) {
    to_first[i] = first == nullptr ? acc_t<T>(0) : up(first[i]);
    if (to_second != nullptr) to_second[i] = second == nullptr ? acc_t<T>(0) : up(second[i]);
  }
}

// And behind the last.
template <class T, int Threads>
MILL_KERNEL(Threads, 2)
recurrent_end(Flat t, int64_t n, const acc_t<T>* first, const acc_t<T>* second, T* to_first,
              T* to_second) {
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    if (to_first != nullptr) to_first[i] = down<T>(first[i]);
    if (to_second != nullptr) to_second[i] = down<T>(second[i]);
  }
}

template <class C, int Products>
struct recurrent_shared {
  C left[kRecurrentDepth][kRecurrentRows + 1];
  C right[kRecurrentDepth][Products * kRecurrentLine + 1];
};

// acc[row][q] += left row times right row q; right(q, unit of the block, k) gives an element.
template <int Products, class C, class Left, class Right>
MILL_DEVICE void recurrent_products(const Block& t, recurrent_shared<C, Products>& s, int64_t depth,
                                    Left left, Right right, C (&acc)[kRecurrentEach][Products]) {
  const int tx = t.tid() % kRecurrentLine;
  const int ty = t.tid() / kRecurrentLine;
  for (int64_t first = 0; first < depth; first += kRecurrentDepth) {
    MILL_UNROLL
    for (int e = 0; e < kRecurrentDepth * kRecurrentRows / kRecurrentThreads; ++e) {
      const int at = e * kRecurrentThreads + t.tid();
      const int d = at % kRecurrentDepth;
      const int r = at / kRecurrentDepth;
      s.left[d][r] = first + d < depth ? left(r, first + d) : C(0);
    }
    MILL_UNROLL
    for (int e = 0; e < kRecurrentDepth * kRecurrentLine * Products / kRecurrentThreads; ++e) {
      const int at = e * kRecurrentThreads + t.tid();
      const int d = at % kRecurrentDepth;
      const int r = at / kRecurrentDepth;
      s.right[d][r] =
          first + d < depth ? right(r / kRecurrentLine, r % kRecurrentLine, first + d) : C(0);
    }
    t.barrier();
    const int here =
        depth - first < kRecurrentDepth ? static_cast<int>(depth - first) : kRecurrentDepth;
    for (int d = 0; d < here; ++d) {
      MILL_UNROLL
      for (int q = 0; q < Products; ++q) {
        const C b = s.right[d][q * kRecurrentLine + tx];
        MILL_UNROLL
        for (int i = 0; i < kRecurrentEach; ++i)
          acc[i][q] = fma_(s.left[d][ty * kRecurrentEach + i], b, acc[i][q]);
      }
    }
    t.barrier();
  }
}

// One step forward, or one of its two parts. from: the states before it; cell: of an LSTM, or a
// GRU's z; reset: r h of a GRU whose reset comes first.
template <class T, Recurrent K>
MILL_KERNEL(kRecurrentThreads, 2)
recurrent_step(Block t, MILL_PARAM(recurrent_place) p, const T* gates, const T* weights,
               const T* bias, const void* lengths, const acc_t<T>* from, acc_t<T>* to,
               acc_t<T>* cell, acc_t<T>* reset, T* y, T* kept, T* cells) {
  using C = acc_t<T>;
  using M = Math<C>;
  constexpr int kProducts = mill::functors::recurrent_products(K);
  constexpr int kFirst = mill::functors::recurrent_first(K);
  constexpr int kGates = mill::functors::recurrent_gates(K);
  using Shared = recurrent_shared<C, kProducts>;
  MILL_SHARED(t, Shared, s);
  const int64_t tile = t.bid() / p.unit_tiles;
  const int64_t row0 = tile * kRecurrentRows;
  const int64_t unit0 = (t.bid() - tile * p.unit_tiles) * kRecurrentLine;
  const int64_t n = p.units;
  const C* states = K == Recurrent::gru_n ? reset : from;

  C acc[kRecurrentEach][kProducts];
  MILL_UNROLL
  for (int i = 0; i < kRecurrentEach; ++i) {
    MILL_UNROLL
    for (int q = 0; q < kProducts; ++q) acc[i][q] = 0;
  }
  recurrent_products<kProducts>(
      t, s, n,
      [&](int r, int64_t k) { return row0 + r < p.batch ? states[(row0 + r) * n + k] : C(0); },
      [&](int q, int u, int64_t k) {
        return unit0 + u < n ? up(weights[((kFirst + q) * n + unit0 + u) * n + k]) : C(0);
      },
      acc);

  const int64_t unit = unit0 + t.tid() % kRecurrentLine;
  if (unit >= n) return;
  MILL_UNROLL
  for (int i = 0; i < kRecurrentEach; ++i) {
    const int64_t row = row0 + t.tid() / kRecurrentLine * kRecurrentEach + i;
    if (row >= p.batch) continue;
    const int64_t at = row * n + unit;
    const int64_t here = p.time * p.batch + row;
    const int64_t keep = here * 4 * n + unit;
    const bool counts = recurrent_counts(p, lengths, row, p.time);
    if (!counts) {
      if (kept != nullptr && K != Recurrent::gru_n) {
        for (int q = 0; q < 4; ++q) kept[keep + q * n] = down<T>(C(0));
      }
      if constexpr (K != Recurrent::gru_rz) {
        to[at] = from[at];
        if (y != nullptr) y[here * n + unit] = down<T>(C(0));
        if (cells != nullptr) cells[here * n + unit] = down<T>(C(0));
      }
      continue;
    }
    C a[kProducts];
    MILL_UNROLL
    for (int q = 0; q < kProducts; ++q)
      a[q] = bias == nullptr ? acc[i][q] : acc[i][q] + up(bias[(kFirst + q) * n + unit]);
    const T* in = gates + here * kGates * n + unit;
    C h = 0;
    if constexpr (K == Recurrent::lstm) {
      MILL_UNROLL
      for (int q = 0; q < 4; ++q) a[q] += up(in[q * n]);
      C c = cell[at];
      h = mill::functors::lstm_forward<M>(a, &c);
      cell[at] = c;
      if (cells != nullptr) cells[here * n + unit] = down<T>(c);
      if (kept != nullptr) {
        MILL_UNROLL
        for (int q = 0; q < 4; ++q) kept[keep + q * n] = down<T>(a[q]);
      }
    } else if constexpr (K == Recurrent::gru) {
      const C r = M::sigmoid(up(in[0]) + a[0]);
      const C z = M::sigmoid(up(in[n]) + a[1]);
      const C next = M::tanh(fma_(r, a[2], up(in[2 * n])));
      h = mill::functors::gru_mix<M>(z, next, from[at]);
      if (kept != nullptr) {
        kept[keep] = down<T>(r);
        kept[keep + n] = down<T>(z);
        kept[keep + 2 * n] = down<T>(next);
        kept[keep + 3 * n] = down<T>(a[2]);
      }
    } else if constexpr (K == Recurrent::gru_rz) {
      const C r = M::sigmoid(up(in[0]) + a[0]);
      const C z = M::sigmoid(up(in[n]) + a[1]);
      const C some = r * from[at];
      reset[at] = some;
      cell[at] = z;
      if (kept != nullptr) {
        kept[keep] = down<T>(r);
        kept[keep + n] = down<T>(z);
        kept[keep + 3 * n] = down<T>(some);
      }
    } else if constexpr (K == Recurrent::gru_n) {
      const C next = M::tanh(up(in[2 * n]) + a[0]);
      h = mill::functors::gru_mix<M>(cell[at], next, from[at]);
      if (kept != nullptr) kept[keep + 2 * n] = down<T>(next);
    } else {
      h = mill::functors::rnn_forward<M>(p.relu, up(in[0]) + a[0]);
    }
    if constexpr (K != Recurrent::gru_rz) {
      to[at] = h;
      if (y != nullptr) y[here * n + unit] = down<T>(h);
    }
  }
}

// ---- gradients ----------------------------------------------------------------------------------

// What gradients by the sums of gates [first, first + parts) send back through the weights to a
// unit of each of the thread's rows; sums has `width` gates a row. Nothing where there are none
// yet.
template <class T>
MILL_DEVICE void recurrent_send_back(const Block& t, recurrent_shared<acc_t<T>, 1>& s,
                                     const recurrent_place& p, int64_t row0, int64_t unit0,
                                     const T* weights, const acc_t<T>* sums, int width, int first,
                                     int parts, acc_t<T> (&acc)[kRecurrentEach][1]) {
  using C = acc_t<T>;
  const int64_t n = p.units;
  MILL_UNROLL
  for (int i = 0; i < kRecurrentEach; ++i) acc[i][0] = 0;
  if (sums == nullptr) return;
  recurrent_products<1>(
      t, s, parts * n,
      [&](int r, int64_t k) {
        return row0 + r < p.batch ? sums[((row0 + r) * width + first) * n + k] : C(0);
      },
      [&](int, int u, int64_t k) {
        return unit0 + u < n ? up(weights[(first * n + k) * n + unit0 + u]) : C(0);
      },
      acc);
}

// One step backward, or one of its two parts. after: the gradients by the hidden sums of the step
// after, NULL at the last; own: those of this step. cells: of a GRU or a plain network y; initial:
// the cells, or states, before the first step. carry: what goes back to the state beside the
// products.
template <class T, Recurrent K>
MILL_KERNEL(kRecurrentThreads, 2)
recurrent_back(Block t, MILL_PARAM(recurrent_place) p, const T* weights, const void* lengths,
               const T* kept, const T* cells, const T* initial, const T* g_y, const T* g_kept,
               const T* g_cells, const acc_t<T>* after, acc_t<T>* own, acc_t<T>* carry,
               acc_t<T>* cell, T* dgates, T* dhidden) {
  using C = acc_t<T>;
  using M = Math<C>;
  constexpr int kGates = mill::functors::recurrent_gates(K);
  using Shared = recurrent_shared<C, 1>;
  MILL_SHARED(t, Shared, s);
  const int64_t tile = t.bid() / p.unit_tiles;
  const int64_t row0 = tile * kRecurrentRows;
  const int64_t unit0 = (t.bid() - tile * p.unit_tiles) * kRecurrentLine;
  const int64_t n = p.units;
  C acc[kRecurrentEach][1];
  if constexpr (K == Recurrent::gru_n) {
    recurrent_send_back(t, s, p, row0, unit0, weights, static_cast<const C*>(own), kGates, 2, 1,
                        acc);
  } else {
    recurrent_send_back(t, s, p, row0, unit0, weights, after, kGates, 0,
                        K == Recurrent::gru_rz ? 2 : kGates, acc);
  }

  const int64_t unit = unit0 + t.tid() % kRecurrentLine;
  if (unit >= n) return;
  MILL_UNROLL
  for (int i = 0; i < kRecurrentEach; ++i) {
    const int64_t row = row0 + t.tid() / kRecurrentLine * kRecurrentEach + i;
    if (row >= p.batch) continue;
    const int64_t at = row * n + unit;
    const int64_t step = p.time * p.batch + row;
    const int64_t here = step * n + unit;
    const int64_t keep = step * 4 * n + unit;
    const int64_t sum = row * kGates * n + unit;
    const int64_t out = step * kGates * n + unit;
    const bool counts = recurrent_counts(p, lengths, row, p.time);
    if (!counts) {
      if constexpr (K != Recurrent::gru_n) {
        carry[at] += acc[i][0];
        for (int q = 0; q < kGates; ++q) {
          own[sum + q * n] = 0;
          if (dgates != nullptr) dgates[out + q * n] = down<T>(C(0));
          if (dhidden != nullptr) dhidden[out + q * n] = down<T>(C(0));
        }
      }
      continue;
    }
    // Of the state before this step: from what was kept, or from where the sequence began.
    C earlier = 0;
    if constexpr (K != Recurrent::rnn) {
      const bool begins =
          p.before < 0 || p.before >= p.steps || !recurrent_counts(p, lengths, row, p.before);
      if (!begins) {
        earlier = up(cells[(p.before * p.batch + row) * n + unit]);
      } else if (initial != nullptr) {
        earlier = up(initial[at]);
      }
    }
    const auto arriving = [&](int q) {
      return g_kept == nullptr ? C(0) : up(g_kept[keep + q * n]);
    };
    const auto give = [&](int q, C v, C hidden) {
      own[sum + q * n] = hidden;
      if (dgates != nullptr) dgates[out + q * n] = down<T>(v);
      if (dhidden != nullptr) dhidden[out + q * n] = down<T>(hidden);
    };
    if constexpr (K == Recurrent::gru_n) {
      // What comes by r h.
      const C r = up(kept[keep]);
      const C some = acc[i][0] + arriving(3);
      const C d = fma_(some, earlier, arriving(0)) * mill::functors::sigmoid_slope<M>(r);
      carry[at] = fma_(some, r, carry[at]);
      give(0, d, d);
      continue;
    } else {
      const C dh = acc[i][0] + carry[at] + (g_y == nullptr ? C(0) : up(g_y[here]));
      if constexpr (K == Recurrent::lstm) {
        C a[4], d[4];
        MILL_UNROLL
        for (int q = 0; q < 4; ++q) {
          a[q] = up(kept[keep + q * n]);
          d[q] = arriving(q);
        }
        C dc = cell[at] + (g_cells == nullptr ? C(0) : up(g_cells[here]));
        mill::functors::lstm_backward<M>(a, d, up(cells[here]), earlier, dh, &dc);
        cell[at] = dc;
        carry[at] = 0;
        MILL_UNROLL
        for (int q = 0; q < 4; ++q) give(q, d[q], d[q]);
      } else if constexpr (K == Recurrent::rnn) {
        const C d = mill::functors::rnn_backward<M>(p.relu, up(cells[here]), dh);
        carry[at] = 0;
        give(0, d, d);
      } else {
        C d_z = arriving(1);
        C d_n = arriving(2);
        carry[at] = mill::functors::gru_mix_backward<M>(up(kept[keep + n]), up(kept[keep + 2 * n]),
                                                        earlier, dh, &d_z, &d_n);
        give(1, d_z, d_z);
        if constexpr (K == Recurrent::gru) {
          const C r = up(kept[keep]);
          const C d_r =
              fma_(d_n, up(kept[keep + 3 * n]), arriving(0)) * mill::functors::sigmoid_slope<M>(r);
          give(0, d_r, d_r);
          give(2, d_n, fma_(d_n, r, arriving(3)));
        } else {
          give(2, d_n, d_n);
        }
      }
    }
  }
}

// What is left for the states before the first step.
template <class T>
MILL_KERNEL(kRecurrentThreads, 2)
recurrent_back_end(Block t, MILL_PARAM(recurrent_place) p, int width, int parts, const T* weights,
                   const acc_t<T>* after, const acc_t<T>* carry, const acc_t<T>* cell, T* dh0,
                   T* dc0) {
  using C = acc_t<T>;
  using Shared = recurrent_shared<C, 1>;
  MILL_SHARED(t, Shared, s);
  const int64_t tile = t.bid() / p.unit_tiles;
  const int64_t row0 = tile * kRecurrentRows;
  const int64_t unit0 = (t.bid() - tile * p.unit_tiles) * kRecurrentLine;
  C acc[kRecurrentEach][1];
  recurrent_send_back(t, s, p, row0, unit0, weights, after, width, 0, parts, acc);
  const int64_t unit = unit0 + t.tid() % kRecurrentLine;
  if (unit >= p.units) return;
  MILL_UNROLL
  for (int i = 0; i < kRecurrentEach; ++i) {
    const int64_t row = row0 + t.tid() / kRecurrentLine * kRecurrentEach + i;
    if (row >= p.batch) continue;
    const int64_t at = row * p.units + unit;
    if (dh0 != nullptr) dh0[at] = down<T>(acc[i][0] + carry[at]);
    if (dc0 != nullptr) dc0[at] = down<T>(cell[at]);
  }
}
