// Elements in order along an axis of [outer, n, inner]. Short lines are sorted in shared memory, as
// many as fit a block at a time, by key and position, which makes any sorting network stable. Of
// long ones a few are selected first, or they are sorted together by the radix sort of
// embedding_sort.inl: first by key, then by line.

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

template <class K>
struct order_scratch {
  K key[kOrderShort];
  int32_t at[kOrderShort];
};

// Bitonic sort (Batcher, 1968) of lines of 2^log2 places, `total` in all.
template <class K>
MILL_DEVICE void order_network(const Block& t, order_scratch<K>& s, int total, int log2) {
  const int places = 1 << log2;
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
}

// The places of a line beyond its elements are behind everything that there is.
template <int Threads, class K>
MILL_KERNEL(Threads, 2)
order_short(Block t, MILL_PARAM(order_lines) g, int log2,
            MILL_PARAM(mill::kernels::SortKey<K>) form, const K* x, K* out, int64_t* index) {
  using Scratch = order_scratch<K>;
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
    order_network(t, s, total, log2);
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

// ---- a few of many ------------------------------------------------------------------------------

// The k first of a long line, k at most kOrderShort, log2 their places. A block finds the key of
// the last one digit by digit from the most significant, collects what is before it, and ties in
// the order of their positions, and sorts that.
template <int Threads, class K>
MILL_KERNEL(Threads, 2)
order_select(Block t, MILL_PARAM(order_lines) g, int log2,
             MILL_PARAM(mill::kernels::SortKey<K>) form, const K* x, K* out, int64_t* index) {
  static_assert(Threads == kScanThreads && Threads == 256);  // a thread is a digit's
  struct Scratch {
    order_scratch<K> chosen;
    int32_t count[Threads];
    int32_t digit, rest, taken;
    bool all;
    scan_slots<int32_t> scan;
  };
  MILL_SHARED(t, Scratch, s);
  const auto k = static_cast<int32_t>(g.k);
  const auto n = static_cast<int32_t>(g.n);
  for (int64_t line = t.bid(); line < g.lines; line += t.grid_dim()) {
    K mask = 0;
    K last = 0;
    int32_t rest = k;
    bool all = false;  // that have these digits are wanted
    for (int shift = 8 * static_cast<int>(sizeof(K)) - 8; shift >= 0 && !all; shift -= 8) {
      s.count[t.tid()] = 0;
      t.barrier();
      for (int32_t i = t.tid(); i < n; i += Threads) {
        const K key = form.of(x[order_place(g, line, i, g.n)]);
        if (static_cast<K>(key & mask) == last)
          atomic_add(&s.count[static_cast<int>(key >> shift) & 255], int32_t{1});
      }
      t.barrier();
      const int32_t mine = s.count[t.tid()];
      int32_t total;
      const int32_t up_to = block_scan(t, s.scan, mine, &total);
      if (up_to - mine < rest && rest <= up_to) {
        s.digit = t.tid();
        s.rest = rest - (up_to - mine);
        s.all = rest == up_to;
      }
      t.barrier();
      last = static_cast<K>(last | static_cast<K>(static_cast<K>(s.digit) << shift));
      mask = static_cast<K>(mask | static_cast<K>(static_cast<K>(255) << shift));
      rest = s.rest;
      all = s.all;
      t.barrier();
    }
    const int places = 1 << log2;
    for (int i = t.tid(); i < places; i += Threads) {
      s.chosen.key[i] = static_cast<K>(~static_cast<K>(0));
      s.chosen.at[i] = INT32_MAX;
    }
    if (t.tid() == 0) s.taken = 0;
    t.barrier();
    int32_t ties = 0;
    for (int32_t base = 0; base < n; base += Threads) {
      const int32_t i = base + t.tid();
      const bool here = i < n;
      const K key = here ? form.of(x[order_place(g, line, i, g.n)]) : static_cast<K>(0);
      const K part = static_cast<K>(key & mask);
      const bool tie = here && part == last;
      bool takes = here && (part < last || (tie && all));
      if (!all) {
        int32_t more;
        const int32_t rank = ties + block_scan(t, s.scan, int32_t{tie ? 1 : 0}, &more);
        takes = takes || (tie && rank <= rest);
        ties += more;
      }
      if (!takes) continue;
      // In any order: it is sorted by key and position, which differ.
      const int32_t slot = atomic_add(&s.taken, int32_t{1});
      s.chosen.key[slot] = key;
      s.chosen.at[slot] = i;
    }
    t.barrier();
    order_network(t, s.chosen, places, log2);
    for (int32_t i = t.tid(); i < k; i += Threads) {
      const int32_t at = s.chosen.at[i];
      const int64_t to = order_place(g, line, i, g.k);
      if (out != nullptr) out[to] = x[order_place(g, line, at, g.n)];
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
