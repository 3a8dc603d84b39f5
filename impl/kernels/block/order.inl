// Elements in order along an axis of [outer, n, inner]. Short lines are sorted in shared memory, as
// many as fit a block at a time, by key and position, which makes any sorting network stable. Long
// ones are sorted together by the radix sort of embedding_sort.inl: first by key, then by line.

inline constexpr int kOrderShort = 2048;  // elements that a block sorts at a time

struct order_lines {
  int64_t lines;
  int64_t n;
  int64_t k;  // elements of a line in the result
  int64_t inner;
};

// Where element i of a line is in a tensor with `size` along the axis.
MILL_DEVICE int64_t order_place(const order_lines& g, int64_t line, int64_t i, int64_t size) {
  const int64_t outer = line / g.inner;
  return (outer * size + i) * g.inner + (line - outer * g.inner);
}

// Bitonic sort (Batcher, 1968). A line has 2^log2 places, of which the last ones are behind
// everything that there is.
template <int Threads, class K>
MILL_KERNEL(Threads, 2)
order_short(Block t, MILL_PARAM(order_lines) g, int log2,
            MILL_PARAM(mill::kernels::SortKey<K>) form, const K* x, K* out, int64_t* index) {
  struct Scratch {
    K key[kOrderShort];
    int32_t at[kOrderShort];
  };
  MILL_SHARED(t, Scratch, s);
  const int places = 1 << log2;
  const int most = kOrderShort >> log2;
  for (int64_t first = t.bid() * most; first < g.lines; first += t.grid_dim() * most) {
    const int lines = g.lines - first < most ? static_cast<int>(g.lines - first) : most;
    const int total = lines << log2;
    for (int i = t.tid(); i < total; i += t.block_dim()) {
      const int at = i & (places - 1);
      K key = static_cast<K>(~static_cast<K>(0));
      if (at < g.n) key = form.of(x[order_place(g, first + (i >> log2), at, g.n)]);
      s.key[i] = key;
      s.at[i] = at;
    }
    t.barrier();
    for (int size = 2; size <= places; size *= 2) {
      for (int step = size / 2; step > 0; step /= 2) {
        for (int pair = t.tid(); pair < total / 2; pair += t.block_dim()) {
          const int a = 2 * pair - (pair & (step - 1));
          const int b = a + step;
          const K left = s.key[a];
          const K right = s.key[b];
          const int32_t left_at = s.at[a];
          const int32_t right_at = s.at[b];
          const bool greater = left > right || (left == right && left_at > right_at);
          if (greater != ((a & (places - 1) & size) == 0)) continue;
          s.key[a] = right;
          s.key[b] = left;
          s.at[a] = right_at;
          s.at[b] = left_at;
        }
        t.barrier();
      }
    }
    const int k = static_cast<int>(g.k);
    for (int i = t.tid(); i < lines * k; i += t.block_dim()) {
      const int line = i / k;
      const int rank = i - line * k;
      const int32_t at = s.at[(line << log2) + rank];
      const int64_t to = order_place(g, first + line, rank, g.k);
      if (out != nullptr) out[to] = x[order_place(g, first + line, at, g.n)];
      if (index != nullptr) index[to] = at;
    }
    t.barrier();
  }
}

// ---- long lines ---------------------------------------------------------------------------------

// I holds every key and every position.
template <int Threads, class K, class I>
MILL_KERNEL(Threads, 2)
order_keys(Flat t, MILL_PARAM(order_lines) g, MILL_PARAM(mill::kernels::SortKey<K>) form,
           const K* x, I* keys) {
  for (int64_t i = t.global_id(); i < g.lines * g.n; i += t.global_size()) {
    const int64_t line = i / g.n;
    keys[i] = static_cast<I>(form.of(x[order_place(g, line, i - line * g.n, g.n)]));
  }
}

// Keys become lines once the positions are in the keys' order.
template <int Threads, class I>
MILL_KERNEL(Threads, 2)
order_by_line(Flat t, int64_t total, int64_t n, const I* order, I* keys) {
  for (int64_t i = t.global_id(); i < total; i += t.global_size())
    keys[i] = static_cast<I>(static_cast<int64_t>(order[i]) / n);
}

template <int Threads, class K, class I>
MILL_KERNEL(Threads, 2)
order_write(Flat t, MILL_PARAM(order_lines) g, const I* order, const K* x, K* out, int64_t* index) {
  for (int64_t i = t.global_id(); i < g.lines * g.k; i += t.global_size()) {
    const int64_t line = i / g.k;
    const int64_t rank = i - line * g.k;
    const int64_t at = static_cast<int64_t>(order[line * g.n + rank]) - line * g.n;
    const int64_t to = order_place(g, line, rank, g.k);
    if (out != nullptr) out[to] = x[order_place(g, line, at, g.n)];
    if (index != nullptr) index[to] = at;
  }
}
