// Attention in tiles: a block of 16 by 16 threads takes Size queries (or keys) of one head and a
// chunk of the result's columns, and walks along the keys (or queries). A thread has Each rows of
// the tile next to one another and every sixteenth column. No scores pass through global memory.
// After ids.inl and rows.inl.

inline constexpr int kAttentionThreads = 256;
inline constexpr int kAttentionLine = 16;  // threads that share rows
inline constexpr int kAttentionDepth = 32;

// Strides of an operand [batch, heads, rows, columns].
struct attention_strides {
  int64_t batch, head, row, col;
};

struct attention_geometry {
  int64_t heads, key_heads, group, queries, keys, width, value_width;
  int64_t tiles;   // of the axis that blocks divide
  int64_t chunks;  // of the result's columns
  int64_t offset;
  double scale;
  bool causal;
  int index_dtype;
  int32_t op, lengths_argument;
  int64_t lengths_step;
  attention_strides q, k, v, g, y, mask, bias, first, second, dscores;
};

// Places of a block.
struct attention_place {
  int64_t batch, head, tile, chunk;
};

MILL_DEVICE attention_place attention_place_of(const attention_geometry& g, int64_t block,
                                               int64_t heads) {
  attention_place p;
  p.chunk = block % g.chunks;
  int64_t rest = block / g.chunks;
  p.tile = rest % g.tiles;
  rest /= g.tiles;
  p.head = rest % heads;
  p.batch = rest / heads;
  return p;
}

// Keys of a sequence that count. A length outside [0, keys] is reported and counts as 0.
MILL_DEVICE int64_t attention_keys(const attention_geometry& g, int64_t batch, const void* lengths,
                                   bool report, fault_slot* faults) {
  if (lengths == nullptr) return g.keys;
  const int64_t n = id_at(lengths, g.index_dtype, batch * g.lengths_step);
  if (is_row(n, g.keys + 1)) return n;
  if (report) raise_fault(faults, g.op, g.lengths_argument, batch, n, 0, g.keys + 1);
  return 0;
}

// Operands of one head.
template <class T>
struct attention_rows {
  const T* data;
  int64_t row, col, width;
  int64_t count;  // of rows from data on

  // From row `first` on.
  MILL_DEVICE attention_rows from(int64_t first) const {
    return {data + first * row, row, col, width, count - first};
  }
};

template <class T>
MILL_DEVICE attention_rows<T> attention_rows_of(const T* x, const attention_strides& s,
                                                int64_t batch, int64_t head, int64_t count,
                                                int64_t width) {
  return {x + batch * s.batch + head * s.head, s.row, s.col, width, count};
}

template <class T, int Each, int Columns>
struct attention_shared {
  using C = acc_t<T>;
  static constexpr int kSize = kAttentionLine * Each;
  static constexpr int kWide = kAttentionLine * Columns;
  union {
    struct {
      C left[kAttentionDepth][kSize + 1];
      C right[kAttentionDepth][kSize + 1];
    } sides;
    C values[kAttentionDepth][kWide];
  };
  C weights[kSize][kSize + 1];
};

MILL_DEVICE int attention_within(int64_t left, int size) {
  return left < size ? static_cast<int>(left) : size;
}

// acc[i][j] = left row (ty Each + i) times right row (tx + 16 j). Ends with a barrier.
template <class T, int Each, int Columns>
MILL_DEVICE void attention_products(const Block& t, attention_shared<T, Each, Columns>& s,
                                    const attention_rows<T>& left, const attention_rows<T>& right,
                                    acc_t<T> (&acc)[Each][Each]) {
  constexpr int kSize = kAttentionLine * Each;
  const int tx = t.tid() % kAttentionLine;
  const int ty = t.tid() / kAttentionLine;
  MILL_UNROLL
  for (int i = 0; i < Each; ++i) {
    MILL_UNROLL
    for (int j = 0; j < Each; ++j) acc[i][j] = 0;
  }
  for (int64_t first = 0; first < left.width; first += kAttentionDepth) {
    MILL_UNROLL
    for (int e = 0; e < kAttentionDepth * kSize / kAttentionThreads; ++e) {
      const int at = e * kAttentionThreads + t.tid();
      const int d = at % kAttentionDepth;
      const int r = at / kAttentionDepth;
      const bool inside = first + d < left.width;
      s.sides.left[d][r] =
          inside && r < left.count ? up(left.data[r * left.row + (first + d) * left.col]) : 0;
      s.sides.right[d][r] =
          inside && r < right.count ? up(right.data[r * right.row + (first + d) * right.col]) : 0;
    }
    t.barrier();
    const int depth = attention_within(left.width - first, kAttentionDepth);
    for (int d = 0; d < depth; ++d) {
      acc_t<T> a[Each];
      acc_t<T> b[Each];
      MILL_UNROLL
      for (int i = 0; i < Each; ++i) a[i] = s.sides.left[d][ty * Each + i];
      MILL_UNROLL
      for (int j = 0; j < Each; ++j) b[j] = s.sides.right[d][tx + j * kAttentionLine];
      MILL_UNROLL
      for (int i = 0; i < Each; ++i) {
        MILL_UNROLL
        for (int j = 0; j < Each; ++j) acc[i][j] = fma_(a[i], b[j], acc[i][j]);
      }
    }
    t.barrier();
  }
}

// acc[i][n] += weights (row ty Each + i) times the rows of `from`, columns `column` + tx + 16 n.
// The weights were written before; ends with a barrier.
template <class T, int Each, int Columns>
MILL_DEVICE void attention_combine(const Block& t, attention_shared<T, Each, Columns>& s,
                                   const attention_rows<T>& from, int64_t column,
                                   acc_t<T> (&acc)[Each][Columns]) {
  constexpr int kSize = kAttentionLine * Each;
  constexpr int kWide = kAttentionLine * Columns;
  const int tx = t.tid() % kAttentionLine;
  const int ty = t.tid() / kAttentionLine;
  const int rows = attention_within(from.count, kSize);
  for (int first = 0; first < rows; first += kAttentionDepth) {
    MILL_UNROLL
    for (int e = 0; e < kAttentionDepth * kWide / kAttentionThreads; ++e) {
      const int at = e * kAttentionThreads + t.tid();
      const int r = first + at / kWide;
      const int64_t c = column + at % kWide;
      s.values[at / kWide][at % kWide] =
          r < from.count && c < from.width ? up(from.data[r * from.row + c * from.col]) : 0;
    }
    t.barrier();
    const int depth = attention_within(rows - first, kAttentionDepth);
    for (int d = 0; d < depth; ++d) {
      acc_t<T> w[Each];
      MILL_UNROLL
      for (int i = 0; i < Each; ++i) w[i] = s.weights[ty * Each + i][first + d];
      MILL_UNROLL
      for (int n = 0; n < Columns; ++n) {
        const acc_t<T> x = s.values[d][tx + n * kAttentionLine];
        MILL_UNROLL
        for (int i = 0; i < Each; ++i) acc[i][n] = fma_(w[i], x, acc[i][n]);
      }
    }
    t.barrier();
  }
}

// Of the mask and bias of one head.
template <class T>
struct attention_sight {
  const uint8_t* mask;
  const T* bias;
  int64_t keys;  // that count

  // The score, or -infinity where the query does not see the key.
  MILL_DEVICE acc_t<T> score(const attention_geometry& g, int64_t query, int64_t key,
                             acc_t<T> product) const {
    using C = acc_t<T>;
    const bool seen = query < g.queries && key < keys && (!g.causal || key <= query + g.offset);
    if (!seen) return kLowest<C>;
    if (mask != nullptr && mask[query * g.mask.row + key * g.mask.col] == 0) return kLowest<C>;
    const C scaled = product * static_cast<C>(g.scale);
    return bias == nullptr ? scaled : scaled + up(bias[query * g.bias.row + key * g.bias.col]);
  }
};

template <class T>
MILL_DEVICE attention_sight<T> attention_sight_of(const attention_geometry& g, int64_t batch,
                                                  int64_t head, const uint8_t* mask, const T* bias,
                                                  int64_t keys) {
  return {mask == nullptr ? nullptr : mask + batch * g.mask.batch + head * g.mask.head,
          bias == nullptr ? nullptr : bias + batch * g.bias.batch + head * g.bias.head, keys};
}

// Keys (from 0) that any of the queries up to `last` may see.
MILL_DEVICE int64_t attention_end(const attention_geometry& g, int64_t keys, int64_t last) {
  if (!g.causal) return keys;
  const int64_t end = last + g.offset + 1;
  return end < 0 ? 0 : end < keys ? end : keys;
}

// ---- forward ------------------------------------------------------------------------------------

template <class T, int Each, int Columns>
MILL_KERNEL(kAttentionThreads, 1)
attention_forward(Block t, MILL_PARAM(attention_geometry) g, const T* q, const T* k, const T* v,
                  const uint8_t* mask, const T* bias, const void* lengths, T* out, acc_t<T>* lse,
                  fault_slot* faults) {
  using C = acc_t<T>;
  using Shared = attention_shared<T, Each, Columns>;
  constexpr int kSize = Shared::kSize;
  MILL_SHARED(t, Shared, s);
  const attention_place p = attention_place_of(g, t.bid(), g.heads);
  const int tx = t.tid() % kAttentionLine;
  const int ty = t.tid() / kAttentionLine;
  const int64_t query = p.tile * kSize;
  const int64_t keys = attention_keys(g, p.batch, lengths, t.tid() == 0, faults);
  const attention_sight<T> sight = attention_sight_of(g, p.batch, p.head, mask, bias, keys);
  const int64_t key_head = p.head / g.group;
  const attention_rows<T> left =
      attention_rows_of(q, g.q, p.batch, p.head, g.queries, g.width).from(query);
  const attention_rows<T> right = attention_rows_of(k, g.k, p.batch, key_head, keys, g.width);
  const attention_rows<T> values =
      attention_rows_of(v, g.v, p.batch, key_head, keys, g.value_width);
  const int64_t column = p.chunk * Shared::kWide;

  C top[Each];
  C sum[Each];
  C acc[Each][Columns];
  MILL_UNROLL
  for (int i = 0; i < Each; ++i) {
    top[i] = kLowest<C>;
    sum[i] = 0;
    MILL_UNROLL
    for (int n = 0; n < Columns; ++n) acc[i][n] = 0;
  }
  const int64_t last = query + kSize < g.queries ? query + kSize - 1 : g.queries - 1;
  const int64_t end = attention_end(g, keys, last);
  for (int64_t key = 0; key < end; key += kSize) {
    C score[Each][Each];
    attention_products(t, s, left, right.from(key), score);
    MILL_UNROLL
    for (int i = 0; i < Each; ++i) {
      C next = top[i];
      MILL_UNROLL
      for (int j = 0; j < Each; ++j) {
        score[i][j] =
            sight.score(g, query + ty * Each + i, key + tx + j * kAttentionLine, score[i][j]);
        next = max_op()(next, score[i][j]);
      }
      next = t.warp_reduce(next, max_op(), kAttentionLine);
      const C shift = finite_top(next);
      C part = 0;
      MILL_UNROLL
      for (int j = 0; j < Each; ++j) {
        score[i][j] = exp_(score[i][j] - shift);
        part += score[i][j];
        s.weights[ty * Each + i][tx + j * kAttentionLine] = score[i][j];
      }
      const C shrink = exp_(top[i] - shift);
      sum[i] = fma_(sum[i], shrink, t.warp_reduce(part, add_op(), kAttentionLine));
      MILL_UNROLL
      for (int n = 0; n < Columns; ++n) acc[i][n] *= shrink;
      top[i] = next;
    }
    attention_combine(t, s, values.from(key), column, acc);
  }

  T* to = out + p.batch * g.first.batch + p.head * g.first.head;
  MILL_UNROLL
  for (int i = 0; i < Each; ++i) {
    const int64_t row = query + ty * Each + i;
    if (row >= g.queries) continue;
    const C scale = sum[i] == 0 ? C(0) : 1 / sum[i];
    MILL_UNROLL
    for (int n = 0; n < Columns; ++n) {
      const int64_t c = column + tx + n * kAttentionLine;
      if (c < g.value_width) to[row * g.first.row + c * g.first.col] = down<T>(acc[i][n] * scale);
    }
    if (lse != nullptr && p.chunk == 0 && tx == 0)
      lse[p.batch * g.second.batch + p.head * g.second.head + row * g.second.row] =
          sum[i] == 0 ? kLowest<C> : top[i] + log_(sum[i]);
  }
}

// ---- gradients ----------------------------------------------------------------------------------

// What backward takes off the gradient by a score, per query: sum(g y) less what arrives by
// logsumexp. A warp has a query.
template <class T, int Threads>
MILL_KERNEL(Threads, 4)
attention_delta(Block t, MILL_PARAM(attention_geometry) g, int64_t rows, const T* arriving,
                const T* y, const acc_t<T>* arriving_lse, acc_t<T>* delta) {
  using C = acc_t<T>;
  const int64_t row = t.bid() * (Threads / kWarp) + t.warp();
  const int64_t query = row % g.queries;
  const int64_t head = row / g.queries % g.heads;
  const int64_t batch = row / g.queries / g.heads;
  C sum = 0;
  if (row < rows) {
    const T* a = arriving + batch * g.g.batch + head * g.g.head + query * g.g.row;
    const T* b = y + batch * g.y.batch + head * g.y.head + query * g.y.row;
    for (int64_t i = t.lane(); i < g.value_width; i += kWarp)
      sum = fma_(up(a[i * g.g.col]), up(b[i * g.y.col]), sum);
  }
  sum = t.warp_reduce(sum, add_op());
  if (t.lane() != 0 || row >= rows) return;
  if (arriving_lse != nullptr)
    sum -= arriving_lse[batch * g.second.batch + head * g.second.head + query * g.second.row];
  delta[row] = sum;
}

// Of one query.
template <class C>
struct attention_stats {
  C lse, delta;
};
template <class C>
MILL_DEVICE attention_stats<C> attention_stats_at(const attention_geometry& g, int64_t batch,
                                                  int64_t head, int64_t query, const C* lse,
                                                  const C* delta) {
  if (query >= g.queries) return {0, 0};
  const C sum = lse[batch * g.first.batch + head * g.first.head + query * g.first.row];
  // A query that sees nothing has no gradient.
  return {sum == kLowest<C> ? -kLowest<C> : sum,
          delta[(batch * g.heads + head) * g.queries + query]};
}

// dk and dv of a tile of keys; rows of a thread are keys, columns queries.
template <class T, int Each, int Columns>
MILL_KERNEL(kAttentionThreads, 1)
attention_gradient_keys(Block t, MILL_PARAM(attention_geometry) g, const T* q, const T* k,
                        const T* v, const T* arriving, const acc_t<T>* lse, const acc_t<T>* delta,
                        const uint8_t* mask, const T* bias, const void* lengths,
                        MILL_PARAM(attention_strides) to_k, MILL_PARAM(attention_strides) to_v,
                        T* dk, T* dv, fault_slot* faults) {
  using C = acc_t<T>;
  using Shared = attention_shared<T, Each, Columns>;
  constexpr int kSize = Shared::kSize;
  MILL_SHARED(t, Shared, s);
  const attention_place p = attention_place_of(g, t.bid(), g.key_heads);
  const int tx = t.tid() % kAttentionLine;
  const int ty = t.tid() / kAttentionLine;
  const int64_t key = p.tile * kSize;
  const int64_t keys = attention_keys(g, p.batch, lengths, t.tid() == 0, faults);
  const int64_t column = p.chunk * Shared::kWide;
  // A tile whose keys do not count has no rows: they would be before its first.
  const int64_t counted = key < keys ? keys : key;
  const attention_rows<T> k_rows =
      attention_rows_of(k, g.k, p.batch, p.head, counted, g.width).from(key);
  const attention_rows<T> v_rows =
      attention_rows_of(v, g.v, p.batch, p.head, counted, g.value_width).from(key);
  C to_keys[Each][Columns];
  C to_values[Each][Columns];
  MILL_UNROLL
  for (int i = 0; i < Each; ++i) {
    MILL_UNROLL
    for (int n = 0; n < Columns; ++n) to_keys[i][n] = to_values[i][n] = 0;
  }
  const int64_t earliest = g.causal && key > g.offset ? (key - g.offset) / kSize * kSize : 0;
  const int64_t queries = key < keys ? g.queries : 0;
  for (int64_t member = 0; member < g.group; ++member) {
    const int64_t head = p.head * g.group + member;
    const attention_sight<T> sight = attention_sight_of(g, p.batch, head, mask, bias, keys);
    for (int64_t query = earliest; query < queries; query += kSize) {
      const attention_rows<T> q_rows =
          attention_rows_of(q, g.q, p.batch, head, g.queries, g.width).from(query);
      const attention_rows<T> g_rows =
          attention_rows_of(arriving, g.g, p.batch, head, g.queries, g.value_width).from(query);
      C score[Each][Each];
      C slope[Each][Each];
      attention_products(t, s, k_rows, q_rows, score);
      attention_products(t, s, v_rows, g_rows, slope);
      MILL_UNROLL
      for (int j = 0; j < Each; ++j) {
        const int64_t at = query + tx + j * kAttentionLine;
        const attention_stats<C> stats = attention_stats_at(g, p.batch, head, at, lse, delta);
        MILL_UNROLL
        for (int i = 0; i < Each; ++i) {
          const C x = sight.score(g, at, key + ty * Each + i, score[i][j]);
          const C w = x == kLowest<C> ? C(0) : exp_(x - stats.lse);
          slope[i][j] = w * (slope[i][j] - stats.delta);
          s.weights[ty * Each + i][tx + j * kAttentionLine] = w;
        }
      }
      attention_combine(t, s, g_rows, column, to_values);
      MILL_UNROLL
      for (int i = 0; i < Each; ++i) {
        MILL_UNROLL
        for (int j = 0; j < Each; ++j)
          s.weights[ty * Each + i][tx + j * kAttentionLine] = slope[i][j];
      }
      attention_combine(t, s, q_rows, column, to_keys);
    }
  }
  MILL_UNROLL
  for (int i = 0; i < Each; ++i) {
    const int64_t row = key + ty * Each + i;
    if (row >= g.keys) continue;
    MILL_UNROLL
    for (int n = 0; n < Columns; ++n) {
      const int64_t c = column + tx + n * kAttentionLine;
      if (dk != nullptr && c < g.width)
        dk[p.batch * to_k.batch + p.head * to_k.head + row * to_k.row + c * to_k.col] =
            down<T>(to_keys[i][n] * static_cast<C>(g.scale));
      if (dv != nullptr && c < g.value_width)
        dv[p.batch * to_v.batch + p.head * to_v.head + row * to_v.row + c * to_v.col] =
            down<T>(to_values[i][n]);
    }
  }
}

// dq of a tile of queries, and the gradient by the scores where it is wanted.
template <class T, int Each, int Columns>
MILL_KERNEL(kAttentionThreads, 1)
attention_gradient_queries(Block t, MILL_PARAM(attention_geometry) g, const T* q, const T* k,
                           const T* v, const T* arriving, const acc_t<T>* lse,
                           const acc_t<T>* delta, const uint8_t* mask, const T* bias,
                           const void* lengths, MILL_PARAM(attention_strides) to_q, T* dq,
                           T* dscores, fault_slot* faults) {
  using C = acc_t<T>;
  using Shared = attention_shared<T, Each, Columns>;
  constexpr int kSize = Shared::kSize;
  MILL_SHARED(t, Shared, s);
  const attention_place p = attention_place_of(g, t.bid(), g.heads);
  const int tx = t.tid() % kAttentionLine;
  const int ty = t.tid() / kAttentionLine;
  const int64_t query = p.tile * kSize;
  const int64_t keys = attention_keys(g, p.batch, lengths, t.tid() == 0, faults);
  const attention_sight<T> sight = attention_sight_of(g, p.batch, p.head, mask, bias, keys);
  const int64_t key_head = p.head / g.group;
  const attention_rows<T> q_rows =
      attention_rows_of(q, g.q, p.batch, p.head, g.queries, g.width).from(query);
  const attention_rows<T> g_rows =
      attention_rows_of(arriving, g.g, p.batch, p.head, g.queries, g.value_width).from(query);
  const attention_rows<T> k_rows = attention_rows_of(k, g.k, p.batch, key_head, keys, g.width);
  const attention_rows<T> v_rows =
      attention_rows_of(v, g.v, p.batch, key_head, keys, g.value_width);
  const int64_t column = p.chunk * Shared::kWide;
  const bool stores = dscores != nullptr && p.chunk == 0;

  attention_stats<C> stats[Each];
  C acc[Each][Columns];
  MILL_UNROLL
  for (int i = 0; i < Each; ++i) {
    stats[i] = attention_stats_at(g, p.batch, p.head, query + ty * Each + i, lse, delta);
    MILL_UNROLL
    for (int n = 0; n < Columns; ++n) acc[i][n] = 0;
  }
  const int64_t last = query + kSize < g.queries ? query + kSize - 1 : g.queries - 1;
  const int64_t end = attention_end(g, keys, last);
  for (int64_t key = 0; key < end; key += kSize) {
    C score[Each][Each];
    C slope[Each][Each];
    attention_products(t, s, q_rows, k_rows.from(key), score);
    attention_products(t, s, g_rows, v_rows.from(key), slope);
    MILL_UNROLL
    for (int i = 0; i < Each; ++i) {
      MILL_UNROLL
      for (int j = 0; j < Each; ++j) {
        const C x =
            sight.score(g, query + ty * Each + i, key + tx + j * kAttentionLine, score[i][j]);
        const C w = x == kLowest<C> ? C(0) : exp_(x - stats[i].lse);
        slope[i][j] = w * (slope[i][j] - stats[i].delta);
        s.weights[ty * Each + i][tx + j * kAttentionLine] = slope[i][j];
      }
    }
    if (stores) {
      MILL_UNROLL
      for (int i = 0; i < Each; ++i) {
        const int64_t row = query + ty * Each + i;
        MILL_UNROLL
        for (int j = 0; j < Each; ++j) {
          const int64_t at = key + tx + j * kAttentionLine;
          if (row < g.queries && at < g.keys)
            dscores[p.batch * g.dscores.batch + p.head * g.dscores.head + row * g.dscores.row +
                    at * g.dscores.col] = down<T>(slope[i][j]);
        }
      }
    }
    attention_combine(t, s, k_rows.from(key), column, acc);
  }
  // Keys that no query of the tile sees.
  for (int64_t key = (end + kSize - 1) / kSize * kSize; stores && key < g.keys; key += kSize) {
    for (int i = 0; i < Each; ++i) {
      const int64_t row = query + ty * Each + i;
      for (int j = 0; j < Each; ++j) {
        const int64_t at = key + tx + j * kAttentionLine;
        if (row < g.queries && at < g.keys)
          dscores[p.batch * g.dscores.batch + p.head * g.dscores.head + row * g.dscores.row +
                  at * g.dscores.col] = down<T>(C(0));
      }
    }
  }
  if (dq == nullptr) return;
  MILL_UNROLL
  for (int i = 0; i < Each; ++i) {
    const int64_t row = query + ty * Each + i;
    if (row >= g.queries) continue;
    MILL_UNROLL
    for (int n = 0; n < Columns; ++n) {
      const int64_t c = column + tx + n * kAttentionLine;
      if (c < g.width)
        dq[p.batch * to_q.batch + p.head * to_q.head + row * to_q.row + c * to_q.col] =
            down<T>(acc[i][n] * static_cast<C>(g.scale));
    }
  }
}
