// What the kernels of rows share. A team of neighbouring threads does a row: 8 or 32 of them,
// several rows to a block, or a whole block. A row that fits is read once and stays in registers.

// What sums of C are collected in across tiles and blocks.
template <class C>
struct wide {
  using type = C;
};
template <>
struct wide<float> {
  using type = double;
};
template <class C>
using wide_t = typename wide<C>::type;

template <class C>
inline constexpr C kLowest = -static_cast<C>(__builtin_huge_val());

// Items of a row that a thread keeps.
template <class T>
inline constexpr int kRowItems = sizeof(acc_t<T>) == 8 ? 8 : 16;

// Threads of a block whose teams have Team of them, and how many such blocks share a
// multiprocessor: 128 registers a thread either way.
template <int Team>
inline constexpr int kTeamThreads = Team < 128 ? 128 : Team;
template <int Team>
inline constexpr int kTeamBlocks = 512 / kTeamThreads<Team>;
template <int Team>
inline constexpr int kTeamWarps = kTeamThreads<Team> / kWarp;

struct add_op {
  template <class V>
  MILL_DEVICE V operator()(V a, V b) const {
    return a + b;
  }
};
// A NaN may get lost: callers let it poison what follows.
struct max_op {
  template <class V>
  MILL_DEVICE V operator()(V a, V b) const {
    return a > b ? a : b;
  }
};

template <class V>
struct two {
  V a;
  V b;
};
struct add_two_op {
  template <class V>
  MILL_DEVICE two<V> operator()(two<V> x, two<V> y) const {
    return {x.a + y.a, x.b + y.b};
  }
};

// op over the team's values, in a fixed order; every member gets the result. Between two calls with
// the same slots there must be a barrier that comes after the first: calls take turns with two
// sets.
template <int Team, class V, class Op>
MILL_DEVICE V team_reduce(const Block& t, V* slots, V value, Op op) {
  if constexpr (Team <= kWarp) {
    return t.warp_reduce(value, op, Team);
  } else {
    const V mine = t.warp_reduce(value, op);
    if (t.lane() == 0) slots[t.warp()] = mine;
    t.barrier();
    V all = slots[0];
    MILL_UNROLL
    for (int w = 1; w < Team / kWarp; ++w) all = op(all, slots[w]);
    return all;
  }
}

template <int Team>
MILL_DEVICE int team_member(const Block& t) {
  return t.tid() & (Team - 1);
}
template <int Team>
MILL_DEVICE int team_of_block(const Block& t) {
  return Team < 128 ? t.tid() / Team : 0;
}
template <int Team>
MILL_DEVICE int teams_of_block(const Block& t) {
  return Team < 128 ? t.block_dim() / Team : 1;
}
// The team's number in the grid.
template <int Team>
MILL_DEVICE int64_t team_of_grid(const Block& t) {
  return t.bid() * teams_of_block<Team>(t) + team_of_block<Team>(t);
}

// Where in its row a member's item k lies. Items of a vector are neighbours.
template <int Team, int W>
MILL_DEVICE int item_at(int member, int k) {
  return ((k / W) * Team + member) * W + k % W;
}

template <int Team, int W, class T, int Items>
MILL_DEVICE void load_items(const T* row, int member, int n, acc_t<T> fill, acc_t<T> (&v)[Items]) {
  MILL_UNROLL
  for (int k = 0; k < Items; k += W) {
    const int i = item_at<Team, W>(member, k);
    if (i < n) {
      const vec<T, W> x = load<W>(row + i);
      MILL_UNROLL
      for (int w = 0; w < W; ++w) v[k + w] = up(x[w]);
    } else {
      MILL_UNROLL
      for (int w = 0; w < W; ++w) v[k + w] = fill;
    }
  }
}

template <int Team, int W, class T, int Items>
MILL_DEVICE void store_items(T* row, int member, int n, const acc_t<T> (&v)[Items]) {
  MILL_UNROLL
  for (int k = 0; k < Items; k += W) {
    const int i = item_at<Team, W>(member, k);
    if (i >= n) continue;
    vec<T, W> r;
    MILL_UNROLL
    for (int w = 0; w < W; ++w) r[w] = down<T>(v[k + w]);
    store(row + i, r);
  }
}

// Four chains: shorter than one, and with a smaller error.
template <class C, int Items>
MILL_DEVICE C sum_items(const C (&v)[Items]) {
  static_assert(Items % 4 == 0);
  C s[4] = {v[0], v[1], v[2], v[3]};
  MILL_UNROLL
  for (int k = 4; k < Items; ++k) s[k % 4] += v[k];
  return (s[0] + s[1]) + (s[2] + s[3]);
}
template <class C, int Items>
MILL_DEVICE C max_items(const C (&v)[Items]) {
  C top = v[0];
  MILL_UNROLL
  for (int k = 1; k < Items; ++k) top = v[k] > top ? v[k] : top;
  return top;
}

// What to take off before the exponential when nothing exceeds -infinity.
template <class C>
MILL_DEVICE C finite_top(C top) {
  return top == kLowest<C> ? C(0) : top;
}

// a / b for 0 <= a, 0 < b; in 32 bits where that is enough.
MILL_DEVICE int64_t quotient(int64_t a, int64_t b) {
  if (((a | b) >> 32) == 0) {
    return static_cast<int64_t>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b));
  }
  return a / b;
}
