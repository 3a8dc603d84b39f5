// Cross entropy from logits, and its gradient by the logits. Row losses are collected in f64: by
// each block, then over the blocks in order.

struct loss_options {
  double smoothing;
  int64_t ignored;
  int32_t reduction;  // 0 mean, 1 sum, 2 none
  int32_t label_dtype;
};
inline constexpr int kReduceMean = 0;
inline constexpr int kReduceNone = 2;

MILL_DEVICE int64_t label_at(const void* labels, int dtype, int64_t i) {
  switch (dtype) {
    case MILL_U8: return static_cast<const uint8_t*>(labels)[i];
    case MILL_I8: return static_cast<const int8_t*>(labels)[i];
    case MILL_I16: return static_cast<const int16_t*>(labels)[i];
    case MILL_I32: return static_cast<const int32_t*>(labels)[i];
    default: return static_cast<const int64_t*>(labels)[i];
  }
}

struct loss_sum {
  double total;
  int64_t counted;
};

// What a row's loss is made of: the largest logit, the sums of e^(x - top) and of x - top.
template <class C>
struct loss_stats {
  C top;
  wide_t<C> sum;
  wide_t<C> distances;
};

// For one lane of each row: writes the log-sum-exp and, when asked for, the row's loss; else adds
// it to *mine.
template <class T>
MILL_DEVICE void finish_loss(const loss_options& o, int64_t row, int64_t n, const T* x,
                             const loss_stats<acc_t<T>>& s, const void* labels, fault_slot* faults,
                             acc_t<T>* loss, acc_t<T>* lse, loss_sum* mine) {
  using C = acc_t<T>;
  const auto top = static_cast<double>(s.top);
  const double log_sum = log_(static_cast<double>(s.sum));
  if (lse != nullptr) lse[row] = static_cast<C>(top + log_sum);
  const int64_t label = label_at(labels, o.label_dtype, row);
  double value = 0;
  if (label != o.ignored) {
    ++mine->counted;
    if (label < 0 || label >= n) {
      raise_fault(faults, MILL_OP_CROSS_ENTROPY, 1, row, label, 0, n);
    } else {
      const double chosen = static_cast<double>(up(x[row * n + label])) - top;
      value = o.smoothing == 0
                  ? log_sum - chosen
                  : log_sum - (1 - o.smoothing) * chosen -
                        o.smoothing * (static_cast<double>(s.distances) / static_cast<double>(n));
    }
  }
  if (o.reduction == kReduceNone) {
    if (loss != nullptr) loss[row] = static_cast<C>(value);
  } else {
    mine->total += value;
  }
}

// The sums of a block's teams, whose first members hold them, in order.
template <int Team>
MILL_DEVICE void finish_block(const Block& t, loss_sum* slots, const loss_sum& mine,
                              loss_sum* partial) {
  if (team_member<Team>(t) == 0) slots[team_of_block<Team>(t)] = mine;
  t.barrier();
  if (t.tid() != 0) return;
  loss_sum all{0, 0};
  for (int k = 0; k < teams_of_block<Team>(t); ++k) {
    all.total += slots[k].total;
    all.counted += slots[k].counted;
  }
  partial[t.bid()] = all;
}

template <class T, int Team, int W, int Items>
MILL_KERNEL(kTeamThreads<Team>, kTeamBlocks<Team>)
cross_entropy_rows(Block t, MILL_PARAM(loss_options) o, int64_t rows, int n, const T* x,
                   const void* labels, fault_slot* faults, acc_t<T>* loss, acc_t<T>* lse,
                   loss_sum* partial) {
  using C = acc_t<T>;
  struct Scratch {
    C top[kTeamWarps<Team>];
    two<C> sums[kTeamWarps<Team>];
    loss_sum losses[kTeamThreads<Team> / (Team < 128 ? Team : 128)];
  };
  MILL_SHARED(t, Scratch, s);
  const int member = team_member<Team>(t);
  const int64_t teams = t.grid_dim() * teams_of_block<Team>(t);
  loss_sum mine{0, 0};
  // All teams of a block go round equally often.
  for (int64_t first = t.bid() * teams_of_block<Team>(t); first < rows; first += teams) {
    const int64_t row = first + team_of_block<Team>(t);
    const int count = row < rows ? n : 0;
    C v[Items];
    load_items<Team, W>(x + row * n, member, count, kLowest<C>, v);
    const C top = team_reduce<Team>(t, s.top, max_items(v), max_op());
    C e[Items];
    MILL_UNROLL
    for (int k = 0; k < Items; ++k) {
      const bool inside = item_at<Team, W>(member, k) < count;
      v[k] = inside ? v[k] - top : C(0);
      e[k] = inside ? exp_(v[k]) : C(0);
    }
    const two<C> sums =
        team_reduce<Team>(t, s.sums, two<C>{sum_items(e), sum_items(v)}, add_two_op());
    if (row < rows && member == 0) {
      const loss_stats<C> stats{top, static_cast<wide_t<C>>(sums.a),
                                static_cast<wide_t<C>>(sums.b)};
      finish_loss(o, row, n, x, stats, labels, faults, loss, lse, &mine);
    }
  }
  if (o.reduction != kReduceNone) finish_block<Team>(t, s.losses, mine, partial);
}

// A part of a long row.
template <class T, int Threads, int W, int Items>
MILL_KERNEL(Threads, 2)
cross_entropy_part(Block t, int64_t n, int64_t parts, const T* x, loss_stats<acc_t<T>>* stats) {
  using C = acc_t<T>;
  struct Scratch {
    C top[Threads / kWarp];
    two<C> sums[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t row = t.bid() / parts;
  const int64_t begin = (t.bid() - row * parts) * (Threads * Items);
  const int count = static_cast<int>(n - begin < Threads * Items ? n - begin : Threads * Items);
  C v[Items];
  load_items<Threads, W>(x + row * n + begin, t.tid(), count, kLowest<C>, v);
  const C top = team_reduce<Threads>(t, s.top, max_items(v), max_op());
  const C shift = finite_top(top);
  C e[Items];
  MILL_UNROLL
  for (int k = 0; k < Items; ++k) {
    const bool inside = item_at<Threads, W>(t.tid(), k) < count;
    v[k] = inside ? v[k] - shift : C(0);
    e[k] = inside ? exp_(v[k]) : C(0);
  }
  const two<C> sums =
      team_reduce<Threads>(t, s.sums, two<C>{sum_items(e), sum_items(v)}, add_two_op());
  if (t.tid() == 0) {
    stats[t.bid()] = {top, static_cast<wide_t<C>>(sums.a), static_cast<wide_t<C>>(sums.b)};
  }
}

// A warp puts the parts of a row together.
template <class T>
MILL_KERNEL(kTeamThreads<kWarp>, kTeamBlocks<kWarp>)
cross_entropy_join(Block t, MILL_PARAM(loss_options) o, int64_t rows, int64_t n, int64_t part,
                   int64_t parts, const loss_stats<acc_t<T>>* stats, const T* x, const void* labels,
                   fault_slot* faults, acc_t<T>* loss, acc_t<T>* lse, loss_sum* partial) {
  using C = acc_t<T>;
  using Wide = wide_t<C>;
  struct Scratch {
    loss_sum losses[kTeamThreads<kWarp> / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  const int64_t teams = t.grid_dim() * teams_of_block<kWarp>(t);
  loss_sum mine{0, 0};
  for (int64_t first = t.bid() * teams_of_block<kWarp>(t); first < rows; first += teams) {
    const int64_t row = first + team_of_block<kWarp>(t);
    const int64_t count = row < rows ? parts : 0;
    const loss_stats<C>* from = stats + row * parts;
    C top = kLowest<C>;
    for (int64_t p = t.lane(); p < count; p += kWarp) top = max_op()(from[p].top, top);
    top = t.warp_reduce(top, max_op());
    two<Wide> sums{0, 0};
    for (int64_t p = t.lane(); p < count; p += kWarp) {
      const C shift = finite_top(from[p].top);
      const int64_t rest = n - p * part;
      sums.a += from[p].sum * static_cast<Wide>(exp_(from[p].top - top));
      sums.b += from[p].distances +
                static_cast<Wide>(rest < part ? rest : part) * static_cast<Wide>(shift - top);
    }
    sums = t.warp_reduce(sums, add_two_op());
    if (row < rows && t.lane() == 0)
      finish_loss(o, row, n, x, {top, sums.a, sums.b}, labels, faults, loss, lse, &mine);
  }
  if (o.reduction != kReduceNone) finish_block<kWarp>(t, s.losses, mine, partial);
}

// One block. 0 / 0 where no label counts: NaN.
template <class C, int Threads>
MILL_KERNEL(Threads, 1)
cross_entropy_total(Block t, bool mean, int64_t parts, const loss_sum* partial, C* loss) {
  struct Scratch {
    loss_sum slot[Threads];
  };
  MILL_SHARED(t, Scratch, s);
  loss_sum mine{0, 0};
  for (int64_t p = t.tid(); p < parts; p += t.block_dim()) {
    mine.total += partial[p].total;
    mine.counted += partial[p].counted;
  }
  s.slot[t.tid()] = mine;
  t.barrier();
  for (int half = t.block_dim() / 2; half > 0; half /= 2) {
    if (t.tid() < half) {
      mine.total += s.slot[t.tid() + half].total;
      mine.counted += s.slot[t.tid() + half].counted;
      s.slot[t.tid()] = mine;
    }
    t.barrier();
  }
  if (t.tid() == 0)
    *loss = static_cast<C>(mean ? mine.total / static_cast<double>(mine.counted) : mine.total);
}

// ---- gradient -----------------------------------------------------------------------------------

// Each block counts the labels of its part; one block more adds up what `more` blocks found.
template <int Threads>
MILL_KERNEL(Threads, 2)
count_labels(Block t, MILL_PARAM(loss_options) o, int64_t rows, int64_t size, const void* labels,
             const int64_t* found, int64_t more, int64_t* counts) {
  struct Scratch {
    int64_t slot[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  int64_t mine = 0;
  if (found != nullptr) {
    for (int64_t p = t.tid(); p < more; p += Threads) mine += found[p];
  } else {
    const int64_t begin = t.bid() * size;
    const int64_t end = rows - begin < size ? rows : begin + size;
    for (int64_t i = begin + t.tid(); i < end; i += Threads)
      mine += label_at(labels, o.label_dtype, i) != o.ignored ? 1 : 0;
  }
  mine = team_reduce<Threads>(t, s.slot, mine, add_op());
  if (t.tid() == 0) counts[t.bid()] = mine;
}

// (p - spread - [is label] (1 - smoothing)) g / counted. out may be the logits.
template <class T, int Threads, int W>
MILL_KERNEL(Threads, 2)
cross_entropy_backward_rows(Flat t, MILL_PARAM(loss_options) o, int64_t rows, int64_t n,
                            const acc_t<T>* g, const T* x, const void* labels, const acc_t<T>* lse,
                            const int64_t* counted, fault_slot* faults, T* out) {
  using C = acc_t<T>;
  const int64_t vectors = n / W;
  const auto spread = static_cast<C>(o.smoothing / static_cast<double>(n));
  const auto rest = static_cast<C>(1 - o.smoothing);
  for (int64_t v = t.global_id(); v < rows * vectors; v += t.global_size()) {
    const int64_t row = quotient(v, vectors);
    const int64_t first = (v - row * vectors) * W;
    const int64_t label = label_at(labels, o.label_dtype, row);
    vec<T, W> r;
    if (label == o.ignored) {
      MILL_UNROLL
      for (int w = 0; w < W; ++w) r[w] = down<T>(0.0F);
    } else {
      if (first == 0 && (label < 0 || label >= n))
        raise_fault(faults, MILL_OP_CROSS_ENTROPY_BACKWARD, 2, row, label, 0, n);
      const C each = g[o.reduction == kReduceNone ? row : 0];
      const C factor = counted != nullptr ? each / static_cast<C>(*counted) : each;
      const C shift = lse[row];
      const vec<T, W> a = load<W>(x + row * n + first);
      MILL_UNROLL
      for (int w = 0; w < W; ++w) {
        const C p = exp_(up(a[w]) - shift);
        r[w] = down<T>(((first + w == label ? p - rest : p) - spread) * factor);
      }
    }
    store(out + row * n + first, r);
  }
}
