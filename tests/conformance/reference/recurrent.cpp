#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

template <class A>
A sigmoid(A x) {
  return A(1) / (A(1) + exp(A(0) - x));
}

// One sequence after another, one step after another. `lengths`: the place of that input.
struct Time {
  int64_t steps, batch, units;
  bool reverse;
};

// use(sequence, time, time of the step before or -1) in the order in which the network sees them.
template <class A, class Use>
void each_step(const RefCall<A>& c, const Time& t, size_t lengths, bool backward, Use&& use) {
  for (int64_t b = 0; b < t.batch; ++b) {
    const Operand<A>& n = c.in[lengths];
    const int64_t length = n.present ? n.i[static_cast<size_t>(b)] : t.steps;
    for (int64_t k = 0; k < length; ++k) {
      const int64_t step = backward ? length - 1 - k : k;
      const int64_t at = t.reverse ? length - 1 - step : step;
      use(b, at, step == 0 ? -1 : t.reverse ? at + 1 : at - 1);
    }
  }
}

// Element (time, sequence, column) of [T, batch, width], and (sequence, column) of [batch, width].
template <class V>
auto& at3(V& v, const Time& t, int64_t width, int64_t time, int64_t b, int64_t column) {
  return v[static_cast<size_t>((time * t.batch + b) * width + column)];
}
template <class V>
auto& at2(V& v, int64_t width, int64_t b, int64_t column) {
  return v[static_cast<size_t>(b * width + column)];
}
template <class A>
A state_or_zero(const Operand<A>& x, int64_t units, int64_t b, int64_t u) {
  return x.present ? at2(x.v, units, b, u) : A(0);
}

// Row `row` of w_hh times a state, and the bias.
template <class A>
A hidden_sum(const RefCall<A>& c, int64_t units, int64_t row, const std::vector<A>& h) {
  A sum = c.in[2].present ? c.in[2].v[static_cast<size_t>(row)] : A(0);
  for (int64_t k = 0; k < units; ++k)
    sum += at2(c.in[1].v, units, row, k) * h[static_cast<size_t>(k)];
  return sum;
}

template <class A>
std::vector<A> row_of(const Operand<A>& x, int64_t units, int64_t b) {
  std::vector<A> row;
  for (int64_t u = 0; u < units; ++u) row.push_back(state_or_zero(x, units, b, u));
  return row;
}

template <class A>
Time time_of(const RefCall<A>& c, size_t model, size_t weights) {
  const Dims& d = c.in[model].dims;
  return {d[0], d[1], c.in[weights].dims[1], c.integer(0) != 0};
}

// The state of the step before, of a result [T, batch, H] or of where the sequence began.
template <class A>
A before_of(const std::vector<A>& y, const Operand<A>& initial, const Time& t, int64_t prior,
            int64_t b, int64_t u) {
  return prior >= 0 ? at3(y, t, t.units, prior, b, u) : state_or_zero(initial, t.units, b, u);
}

// An arriving gradient, 0 where there is none.
template <class A>
A arriving(const Operand<A>& g, const Time& t, int64_t width, int64_t time, int64_t b, int64_t u) {
  return g.present ? at3(g.v, t, width, time, b, u) : A(0);
}

// The final states of sequences: those of y, or the initial ones where no step counts.
template <class A>
void set_last(RefCall<A>& c, const Time& t, size_t lengths, const std::vector<A>& y,
              const Operand<A>& initial, std::vector<A>& last) {
  for (int64_t b = 0; b < t.batch; ++b) {
    const Operand<A>& n = c.in[lengths];
    const int64_t length = n.present ? n.i[static_cast<size_t>(b)] : t.steps;
    const int64_t end = length == 0 ? -1 : t.reverse ? 0 : length - 1;
    for (int64_t u = 0; u < t.units; ++u)
      at2(last, t.units, b, u) = before_of(y, initial, t, end, b, u);
  }
}

// A gradient's walk: what arrives at the state of each step, and what is left for h0.
template <class A>
struct Carried {
  std::vector<A> h, c;
};
template <class A>
Carried<A> carried_of(const Time& t, const Operand<A>& g_h, const Operand<A>* g_c) {
  Carried<A> s;
  for (int64_t b = 0; b < t.batch; ++b)
    for (int64_t u = 0; u < t.units; ++u) {
      s.h.push_back(state_or_zero(g_h, t.units, b, u));
      s.c.push_back(g_c ? state_or_zero(*g_c, t.units, b, u) : A(0));
    }
  return s;
}

// sums times columns of w_hh: the rows of unit u's parts [first, end).
template <class A>
void send_back(const Operand<A>& w, int64_t units, int64_t first, const std::vector<A>& sums,
               A* to) {
  for (int64_t u = 0; u < units; ++u) {
    A sum(0);
    for (size_t k = 0; k < sums.size(); ++k)
      sum += sums[k] * at2(w.v, units, first + static_cast<int64_t>(k), u);
    to[u] += sum;
  }
}

}  // namespace

template <class A>
void ref_lstm_sequence(RefCall<A>& c) {
  const Time t = time_of(c, 0, 1);
  const int64_t n = t.units;
  std::vector<A>& y = c.make(0, {t.steps, t.batch, n});
  std::vector<A>& h_last = c.make(1, {t.batch, n});
  std::vector<A>& c_last = c.make(2, {t.batch, n});
  std::vector<A>& kept = c.make(3, {t.steps, t.batch, 4 * n});
  std::vector<A>& cells = c.make(4, {t.steps, t.batch, n});
  each_step(c, t, 5, false, [&](int64_t b, int64_t at, int64_t prior) {
    std::vector<A> h;
    for (int64_t u = 0; u < n; ++u) h.push_back(before_of(y, c.in[3], t, prior, b, u));
    for (int64_t u = 0; u < n; ++u) {
      A a[4];
      for (int64_t q = 0; q < 4; ++q) {
        const A sum = at3(c.in[0].v, t, 4 * n, at, b, q * n + u) + hidden_sum(c, n, q * n + u, h);
        a[q] = q == 2 ? tanh(sum) : sigmoid(sum);
        at3(kept, t, 4 * n, at, b, q * n + u) = a[q];
      }
      const A cell = a[1] * before_of(cells, c.in[4], t, prior, b, u) + a[0] * a[2];
      at3(cells, t, n, at, b, u) = cell;
      at3(y, t, n, at, b, u) = a[3] * tanh(cell);
    }
  });
  set_last(c, t, 5, y, c.in[3], h_last);
  set_last(c, t, 5, cells, c.in[4], c_last);
}

template <class A>
void ref_lstm_sequence_backward(RefCall<A>& c) {
  const Time t = time_of(c, 1, 0);
  const int64_t n = t.units;
  std::vector<A>& dgates = c.make(0, {t.steps, t.batch, 4 * n});
  Carried<A> s = carried_of(t, c.in[6], &c.in[7]);
  each_step(c, t, 4, true, [&](int64_t b, int64_t at, int64_t prior) {
    std::vector<A> sums(static_cast<size_t>(4 * n), A(0));
    A* h = s.h.data() + b * n;
    A* cell = s.c.data() + b * n;
    for (int64_t u = 0; u < n; ++u) {
      A a[4], g[4];
      for (int64_t q = 0; q < 4; ++q) {
        a[q] = at3(c.in[1].v, t, 4 * n, at, b, q * n + u);
        g[q] = arriving(c.in[8], t, 4 * n, at, b, q * n + u);
      }
      const A dh = h[u] + arriving(c.in[5], t, n, at, b, u);
      const A bent = tanh(at3(c.in[2].v, t, n, at, b, u));
      const A dc = cell[u] + dh * a[3] * (A(1) - bent * bent) + arriving(c.in[9], t, n, at, b, u);
      const A earlier = before_of(c.in[2].v, c.in[3], t, prior, b, u);
      const A d[4] = {
          (dc * a[2] + g[0]) * a[0] * (A(1) - a[0]), (dc * earlier + g[1]) * a[1] * (A(1) - a[1]),
          (dc * a[0] + g[2]) * (A(1) - a[2] * a[2]), (dh * bent + g[3]) * a[3] * (A(1) - a[3])};
      for (int64_t q = 0; q < 4; ++q) {
        sums[static_cast<size_t>(q * n + u)] = d[q];
        at3(dgates, t, 4 * n, at, b, q * n + u) = d[q];
      }
      cell[u] = dc * a[1];
      h[u] = A(0);
    }
    send_back(c.in[0], n, 0, sums, h);
  });
  c.make(1, {t.batch, n}) = s.h;
  c.make(2, {t.batch, n}) = s.c;
}

template <class A>
void ref_gru_sequence(RefCall<A>& c) {
  const Time t = time_of(c, 0, 1);
  const int64_t n = t.units;
  const bool after = c.integer(1) != 0;
  std::vector<A>& y = c.make(0, {t.steps, t.batch, n});
  std::vector<A>& h_last = c.make(1, {t.batch, n});
  std::vector<A>& kept = c.make(2, {t.steps, t.batch, 4 * n});
  each_step(c, t, 4, false, [&](int64_t b, int64_t at, int64_t prior) {
    std::vector<A> h, reset;
    for (int64_t u = 0; u < n; ++u) h.push_back(before_of(y, c.in[3], t, prior, b, u));
    const auto gate = [&](int64_t q, int64_t u) {
      return at3(c.in[0].v, t, 3 * n, at, b, q * n + u);
    };
    for (int64_t u = 0; u < n; ++u) {
      for (int64_t q = 0; q < 2; ++q)
        at3(kept, t, 4 * n, at, b, q * n + u) =
            sigmoid(gate(q, u) + hidden_sum(c, n, q * n + u, h));
      reset.push_back(at3(kept, t, 4 * n, at, b, u) * h[static_cast<size_t>(u)]);
    }
    for (int64_t u = 0; u < n; ++u) {
      const A r = at3(kept, t, 4 * n, at, b, u);
      const A z = at3(kept, t, 4 * n, at, b, n + u);
      const A p = hidden_sum(c, n, 2 * n + u, after ? h : reset);
      const A next = tanh(gate(2, u) + (after ? r * p : p));
      at3(kept, t, 4 * n, at, b, 2 * n + u) = next;
      at3(kept, t, 4 * n, at, b, 3 * n + u) = after ? p : reset[static_cast<size_t>(u)];
      at3(y, t, n, at, b, u) = (A(1) - z) * next + z * h[static_cast<size_t>(u)];
    }
  });
  set_last(c, t, 4, y, c.in[3], h_last);
}

template <class A>
void ref_gru_sequence_backward(RefCall<A>& c) {
  const Time t = time_of(c, 1, 0);
  const int64_t n = t.units;
  const bool after = c.integer(1) != 0;
  std::vector<A>& dgates = c.make(0, {t.steps, t.batch, 3 * n});
  std::vector<A> hidden(dgates.size(), A(0));
  Carried<A> s = carried_of<A>(t, c.in[6], nullptr);
  each_step(c, t, 4, true, [&](int64_t b, int64_t at, int64_t prior) {
    std::vector<A> sums(static_cast<size_t>(3 * n), A(0));
    std::vector<A> by_reset(static_cast<size_t>(n), A(0));
    A* h = s.h.data() + b * n;
    const auto kept = [&](int64_t q, int64_t u) {
      return at3(c.in[1].v, t, 4 * n, at, b, q * n + u);
    };
    const auto g = [&](int64_t q, int64_t u) {
      return arriving(c.in[7], t, 4 * n, at, b, q * n + u);
    };
    const auto earlier = [&](int64_t u) { return before_of(c.in[2].v, c.in[3], t, prior, b, u); };
    const auto sum = [&](int64_t q, int64_t u) -> A& {
      return sums[static_cast<size_t>(q * n + u)];
    };
    std::vector<A> s_n;
    for (int64_t u = 0; u < n; ++u) {
      const A dh = h[u] + arriving(c.in[5], t, n, at, b, u);
      const A z = kept(1, u);
      const A next = kept(2, u);
      sum(1, u) = (dh * (earlier(u) - next) + g(1, u)) * z * (A(1) - z);
      s_n.push_back((dh * (A(1) - z) + g(2, u)) * (A(1) - next * next));
      h[u] = dh * z;
    }
    if (!after) send_back(c.in[0], n, 2 * n, s_n, by_reset.data());
    for (int64_t u = 0; u < n; ++u) {
      const A r = kept(0, u);
      const A d = s_n[static_cast<size_t>(u)];
      const A some = by_reset[static_cast<size_t>(u)] + g(3, u);
      const A dr = after ? d * kept(3, u) : some * earlier(u);
      sum(0, u) = (dr + g(0, u)) * r * (A(1) - r);
      if (!after) h[u] += some * r;
      for (int64_t q = 0; q < 2; ++q) at3(dgates, t, 3 * n, at, b, q * n + u) = sum(q, u);
      at3(dgates, t, 3 * n, at, b, 2 * n + u) = d;
      sum(2, u) = d * r + g(3, u);
      for (int64_t q = 0; q < 3; ++q) at3(hidden, t, 3 * n, at, b, q * n + u) = sum(q, u);
    }
    if (!after) sums.resize(static_cast<size_t>(2 * n));
    send_back(c.in[0], n, 0, sums, h);
  });
  if (after) c.make(1, {t.steps, t.batch, 3 * n}) = hidden;
  c.make(2, {t.batch, n}) = s.h;
}

template <class A>
void ref_rnn_sequence(RefCall<A>& c) {
  const Time t = time_of(c, 0, 1);
  const int64_t n = t.units;
  const bool relu = c.integer(1) != 0;
  std::vector<A>& y = c.make(0, {t.steps, t.batch, n});
  std::vector<A>& h_last = c.make(1, {t.batch, n});
  each_step(c, t, 4, false, [&](int64_t b, int64_t at, int64_t prior) {
    std::vector<A> h;
    for (int64_t u = 0; u < n; ++u) h.push_back(before_of(y, c.in[3], t, prior, b, u));
    for (int64_t u = 0; u < n; ++u) {
      const A sum = at3(c.in[0].v, t, n, at, b, u) + hidden_sum(c, n, u, h);
      at3(y, t, n, at, b, u) = !relu ? tanh(sum) : sum > A(0) ? sum : A(0);
    }
  });
  set_last(c, t, 4, y, c.in[3], h_last);
}

template <class A>
void ref_rnn_sequence_backward(RefCall<A>& c) {
  const Time t = time_of(c, 1, 0);
  const int64_t n = t.units;
  const bool relu = c.integer(1) != 0;
  std::vector<A>& dgates = c.make(0, {t.steps, t.batch, n});
  Carried<A> s = carried_of<A>(t, c.in[4], nullptr);
  each_step(c, t, 2, true, [&](int64_t b, int64_t at, int64_t) {
    std::vector<A> sums;
    A* h = s.h.data() + b * n;
    for (int64_t u = 0; u < n; ++u) {
      const A y = at3(c.in[1].v, t, n, at, b, u);
      const A dh = h[u] + arriving(c.in[3], t, n, at, b, u);
      sums.push_back(!relu ? dh * (A(1) - y * y) : y > A(0) ? dh : A(0));
      at3(dgates, t, n, at, b, u) = sums.back();
      h[u] = A(0);
    }
    send_back(c.in[0], n, 0, sums, h);
  });
  c.make(1, {t.batch, n}) = s.h;
}

MILL_INSTANTIATE_REFERENCE(lstm_sequence)
MILL_INSTANTIATE_REFERENCE(lstm_sequence_backward)
MILL_INSTANTIATE_REFERENCE(gru_sequence)
MILL_INSTANTIATE_REFERENCE(gru_sequence_backward)
MILL_INSTANTIATE_REFERENCE(rnn_sequence)
MILL_INSTANTIATE_REFERENCE(rnn_sequence_backward)

}  // namespace mill_test
