// Reductions over any axes of any strides. Where the innermost axis is reduced, a team does an
// output, or a part of one; where it is kept, a block does a tile of columns, or a part of their
// rows. Parts leave partial results, which a second kernel combines in order.
//
// An operation gives: Part, what elements are combined in within a tile; Total, across tiles,
// lanes and blocks; Out, the result's storage; lift(element, number within the output); both for
// parts and totals; widen; finish; Parts, the operation that combines the totals of every S alike.

// ---- operations ---------------------------------------------------------------------------------

template <class S>
using element_t = std::conditional_t<std::is_integral_v<S>, int64_t, acc_t<S>>;

template <class S>
struct sum_of {
  using Part = element_t<S>;
  using Total = wide_t<Part>;
  using Out = S;
  using Parts = sum_of<Total>;

  MILL_DEVICE static Part part() { return 0; }
  MILL_DEVICE static Total total() { return 0; }
  MILL_DEVICE static Part lift(S x, int64_t) { return static_cast<Part>(up(x)); }
  template <class V>
  MILL_DEVICE static V both(V a, V b) {
    if constexpr (std::is_integral_v<V>) {
      // Integers wrap.
      return static_cast<V>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    } else {
      return a + b;
    }
  }
  MILL_DEVICE static Total widen(Part a) { return static_cast<Total>(a); }
  MILL_DEVICE static S finish(Total a, double divisor) {
    if constexpr (std::is_integral_v<S>) {
      return static_cast<S>(a);
    } else {
      return down<S>(static_cast<Part>(divisor == 1 ? a : a / static_cast<Total>(divisor)));
    }
  }
};

template <class S>
struct prod_of {
  using Part = element_t<S>;
  using Total = wide_t<Part>;
  using Out = S;
  using Parts = prod_of<Total>;

  MILL_DEVICE static Part part() { return 1; }
  MILL_DEVICE static Total total() { return 1; }
  MILL_DEVICE static Part lift(S x, int64_t) { return static_cast<Part>(up(x)); }
  template <class V>
  MILL_DEVICE static V both(V a, V b) {
    if constexpr (std::is_integral_v<V>) {
      return static_cast<V>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    } else {
      return a * b;
    }
  }
  MILL_DEVICE static Total widen(Part a) { return static_cast<Total>(a); }
  MILL_DEVICE static S finish(Total a, double) {
    if constexpr (std::is_integral_v<S>) {
      return static_cast<S>(a);
    } else {
      return down<S>(static_cast<Part>(a));
    }
  }
};

template <class V>
MILL_DEVICE V lowest_of() {
  if constexpr (std::is_integral_v<V>) {
    return static_cast<V>(INT64_MIN);
  } else {
    return kLowest<V>;
  }
}

// NaN if any element is.
template <class S>
struct max_of {
  using Part = element_t<S>;
  using Total = Part;
  using Out = S;
  using Parts = max_of<Part>;

  MILL_DEVICE static Part part() { return lowest_of<Part>(); }
  MILL_DEVICE static Total total() { return lowest_of<Part>(); }
  MILL_DEVICE static Part lift(S x, int64_t) { return static_cast<Part>(up(x)); }
  MILL_DEVICE static Part both(Part a, Part b) { return b > a || b != b ? b : a; }
  MILL_DEVICE static Total widen(Part a) { return a; }
  MILL_DEVICE static S finish(Total a, double) { return down<S>(a); }
};

template <class V>
MILL_DEVICE V highest_of() {
  if constexpr (std::is_integral_v<V>) {
    return static_cast<V>(INT64_MAX);
  } else {
    return -kLowest<V>;
  }
}

// As max_of.
template <class S>
struct min_of {
  using Part = element_t<S>;
  using Total = Part;
  using Out = S;
  using Parts = min_of<Part>;

  MILL_DEVICE static Part part() { return highest_of<Part>(); }
  MILL_DEVICE static Total total() { return highest_of<Part>(); }
  MILL_DEVICE static Part lift(S x, int64_t) { return static_cast<Part>(up(x)); }
  MILL_DEVICE static Part both(Part a, Part b) { return b < a || b != b ? b : a; }
  MILL_DEVICE static Total widen(Part a) { return a; }
  MILL_DEVICE static S finish(Total a, double) { return down<S>(a); }
};

template <class V>
struct ranked {
  V value;
  int64_t index;
};

// The first largest element's number; the first NaN wins.
template <class S>
struct argmax_of {
  using Value = element_t<S>;
  using Part = ranked<Value>;
  using Total = Part;
  using Out = int64_t;
  using Parts = argmax_of<Value>;

  MILL_DEVICE static Part part() { return {lowest_of<Value>(), INT64_MAX}; }
  MILL_DEVICE static Total total() { return part(); }
  MILL_DEVICE static Part lift(S x, int64_t index) { return {static_cast<Value>(up(x)), index}; }
  MILL_DEVICE static Part both(Part a, Part b) {
    const bool a_nan = a.value != a.value;
    const bool b_nan = b.value != b.value;
    const bool same = a.value == b.value || (a_nan && b_nan);
    const bool second = same ? b.index < a.index : b_nan || (!a_nan && b.value > a.value);
    return second ? b : a;
  }
  MILL_DEVICE static Total widen(Part a) { return a; }
  MILL_DEVICE static int64_t finish(Total a, double) { return a.index; }
};

template <class Op>
struct total_op {
  MILL_DEVICE typename Op::Total operator()(typename Op::Total a, typename Op::Total b) const {
    return Op::both(a, b);
  }
};

// ---- geometry -----------------------------------------------------------------------------------

// Outermost first.
struct axis_list {
  int32_t rank;
  int64_t size[MILL_MAX_RANK];
  int64_t in[MILL_MAX_RANK];
  int64_t out[MILL_MAX_RANK];
};
struct place {
  int64_t in;
  int64_t out;
};

MILL_DEVICE place place_of(const axis_list& axes, int64_t index) {
  place at{0, 0};
  for (int i = axes.rank - 1; i > 0; --i) {
    const int64_t rest = quotient(index, axes.size[i]);
    const int64_t here = index - rest * axes.size[i];
    at.in += here * axes.in[i];
    at.out += here * axes.out[i];
    index = rest;
  }
  if (axes.rank > 0) {
    at.in += index * axes.in[0];
    at.out += index * axes.out[0];
  }
  return at;
}

// The innermost axis is reduced: an output is `count` elements, in runs that are `stride` apart
// within. Vectors: stride 1, and every run a multiple of them unless there is only one.
struct row_geometry {
  axis_list kept;
  axis_list reduced;  // without the innermost
  int64_t run;
  int64_t stride;
  int64_t count;
  int64_t outputs;
  int64_t parts;  // of each output
  int64_t size;   // of a part; a multiple of every vector
  int32_t team_bits;
  double divisor;
};

// The innermost axis is kept.
struct column_geometry {
  axis_list kept;  // without the innermost
  axis_list reduced;
  int64_t columns;  // of the innermost
  int64_t in;       // its strides
  int64_t out;
  int64_t rows;  // elements of an output
  int64_t parts;
  int64_t size;   // rows of a part
  int32_t lanes;  // neighbouring columns, or vectors of them, of a block
  double divisor;
};

// ---- kernels ------------------------------------------------------------------------------------

// Offsets of elements that are `step` apart, over at most two axes: one division at the start, none
// for an element.
class cursor {
 public:
  // `size` elements that are `inner` apart make one of the outer axis, which is `outer` apart;
  // one axis only: size 0.
  MILL_DEVICE cursor(int64_t index, int64_t step, int64_t size, int64_t inner, int64_t outer) {
    const bool single = size == 0;
    const int64_t row = single ? 0 : quotient(index, size);
    const int64_t rows = single ? 0 : quotient(step, size);
    end_ = single ? INT64_MAX : size;
    index_ = index - row * size;
    step_ = step - rows * size;
    at_ = row * outer + index_ * inner;
    step_at_ = rows * outer + step_ * inner;
    carry_ = outer - size * inner;
  }
  MILL_DEVICE int64_t at() const { return at_; }
  MILL_DEVICE void next() {
    index_ += step_;
    at_ += step_at_;
    if (index_ >= end_) {
      index_ -= end_;
      at_ += carry_;
    }
  }

 private:
  int64_t at_;
  int64_t index_;
  int64_t end_;
  int64_t step_;
  int64_t step_at_;
  int64_t carry_;
};

// More axes than a cursor takes: a division for each.
MILL_DEVICE int64_t row_offset(const row_geometry& g, int64_t i) {
  const int64_t row = quotient(i, g.run);
  return place_of(g.reduced, row).in + (i - row * g.run) * g.stride;
}

template <class Op, int W, class S>
MILL_DEVICE typename Op::Part lift_all(const vec<S, W>& x, int64_t index) {
  typename Op::Part part = Op::lift(x[0], index);
  MILL_UNROLL
  for (int w = 1; w < W; ++w) part = Op::both(part, Op::lift(x[w], index + w));
  return part;
}

// Teams of any power of two up to the block in one kernel: what a lane does is the same.
template <class Op, class S, int Threads, int W>
MILL_KERNEL(Threads, 2)
reduce_rows(Block t, MILL_PARAM(row_geometry) g, const S* x, typename Op::Out* out,
            typename Op::Total* partial) {
  using Total = typename Op::Total;
  struct Scratch {
    Total slot[Threads / kWarp];
  };
  MILL_SHARED(t, Scratch, s);
  constexpr int U = W > 1 ? 4 : 8;
  const int team = 1 << g.team_bits;
  const int tile = team * W * U;
  const int member = t.tid() & (team - 1);
  const int64_t task = t.bid() * (t.block_dim() >> g.team_bits) + (t.tid() >> g.team_bits);
  const bool live = task < g.outputs * g.parts;
  const int64_t output = live ? quotient(task, g.parts) : 0;
  const place kept = place_of(g.kept, output);
  const S* row = x + kept.in;
  int64_t i = (task - output * g.parts) * g.size;
  const int64_t end = !live ? i : g.count - i < g.size ? g.count : i + g.size;
  const bool deep = g.reduced.rank > 1;
  const bool single = g.reduced.rank == 0;
  cursor c(i + member * W, team * W, single ? 0 : g.run, g.stride, single ? 0 : g.reduced.in[0]);
  Total total = Op::total();
  for (; !deep && i + tile <= end; i += tile) {
    vec<S, W> v[U];
    MILL_UNROLL
    for (int u = 0; u < U; ++u) {
      v[u] = load<W>(row + c.at());
      c.next();
    }
    auto part = lift_all<Op, W>(v[0], i + member * W);
    MILL_UNROLL
    for (int u = 1; u < U; ++u)
      part = Op::both(part, lift_all<Op, W>(v[u], i + (u * team + member) * W));
    total = Op::both(total, Op::widen(part));
  }
  // What is left, less than a tile unless the axes are many.
  for (; i < end; i += tile) {
    const int64_t stop = end - i < tile ? end : i + tile;
    auto part = Op::part();
    for (int64_t k = i + member * W; k + W <= stop; k += team * W) {
      part = Op::both(part, lift_all<Op, W>(load<W>(row + (deep ? row_offset(g, k) : c.at())), k));
      c.next();
    }
    if constexpr (W > 1) {
      // Less than a vector a team, and only where there is one run.
      const int64_t k = stop - (stop - i) % W + member;
      if (k < stop) part = Op::both(part, Op::lift(row[k], k));
    }
    total = Op::both(total, Op::widen(part));
  }
  total = t.warp_reduce(total, total_op<Op>(), team < kWarp ? team : kWarp);
  if (team > kWarp) {
    if (t.lane() == 0) s.slot[t.warp()] = total;
    t.barrier();
    total = s.slot[0];
    for (int w = 1; w < team / kWarp; ++w) total = Op::both(total, s.slot[w]);
  }
  if (live && member == 0) {
    if (g.parts == 1) {
      out[kept.out] = Op::finish(total, g.divisor);
    } else {
      partial[task] = total;
    }
  }
}

template <class Op, class S, int Threads, int W>
MILL_KERNEL(Threads, 2)
reduce_columns(Block t, MILL_PARAM(column_geometry) g, const S* x, typename Op::Out* out,
               typename Op::Total* partial) {
  using Total = typename Op::Total;
  using Part = typename Op::Part;
  struct Scratch {
    Total slot[W][Threads];
  };
  MILL_SHARED(t, Scratch, s);
  constexpr int U = W > 4 ? 4 : 8;
  const int64_t tiles = (g.columns + g.lanes * W - 1) / (g.lanes * W);
  const int64_t rest = quotient(t.bid(), tiles);
  const int64_t outer = quotient(rest, g.parts);
  const int64_t part_index = rest - outer * g.parts;
  const int64_t column = ((t.bid() - rest * tiles) * g.lanes + (t.tid() & (g.lanes - 1))) * W;
  const bool live = column < g.columns;
  const int height = t.block_dim() / g.lanes;
  const int first = t.tid() / g.lanes;
  const int64_t begin = part_index * g.size;
  const int64_t end = !live ? begin : g.rows - begin < g.size ? g.rows : begin + g.size;
  const place kept = place_of(g.kept, outer);
  const S* from = x + kept.in + column * g.in;
  Total total[W];
  MILL_UNROLL
  for (int w = 0; w < W; ++w) total[w] = Op::total();
  int64_t r = begin + first;
  const bool deep = g.reduced.rank > 2;
  const int last = g.reduced.rank - 1;
  const bool single = last == 0;
  cursor c(r, height, single ? 0 : g.reduced.size[last], g.reduced.in[last],
           single ? 0 : g.reduced.in[0]);
  for (; !deep && r + (U - 1) * height < end; r += U * height) {
    vec<S, W> v[U];
    MILL_UNROLL
    for (int u = 0; u < U; ++u) {
      v[u] = load<W>(from + c.at());
      c.next();
    }
    MILL_UNROLL
    for (int w = 0; w < W; ++w) {
      Part part = Op::lift(v[0][w], r);
      MILL_UNROLL
      for (int u = 1; u < U; ++u) part = Op::both(part, Op::lift(v[u][w], r + u * height));
      total[w] = Op::both(total[w], Op::widen(part));
    }
  }
  // What is left, less than U rows unless the axes are many.
  for (; r < end; r += height) {
    const vec<S, W> v = load<W>(from + (deep ? place_of(g.reduced, r).in : c.at()));
    c.next();
    MILL_UNROLL
    for (int w = 0; w < W; ++w) total[w] = Op::both(total[w], Op::widen(Op::lift(v[w], r)));
  }
  MILL_UNROLL
  for (int w = 0; w < W; ++w) s.slot[w][t.tid()] = total[w];
  t.barrier();
  for (int half = height / 2; half > 0; half /= 2) {
    if (first < half) {
      MILL_UNROLL
      for (int w = 0; w < W; ++w) {
        total[w] = Op::both(total[w], s.slot[w][t.tid() + half * g.lanes]);
        s.slot[w][t.tid()] = total[w];
      }
    }
    t.barrier();
  }
  if (!live || first != 0) return;
  MILL_UNROLL
  for (int w = 0; w < W; ++w) {
    if (g.parts == 1) {
      out[kept.out + (column + w) * g.out] = Op::finish(total[w], g.divisor);
    } else {
      partial[(outer * g.columns + column + w) * g.parts + part_index] = total[w];
    }
  }
}

// A result in the storage that a dtype means.
template <class V>
MILL_DEVICE void store_result(void* out, int32_t dtype, int64_t at, V value) {
  if constexpr (std::is_integral_v<V>) {
    switch (dtype) {
      case MILL_U8:
      case MILL_I8: static_cast<uint8_t*>(out)[at] = static_cast<uint8_t>(value); break;
      case MILL_I16: static_cast<int16_t*>(out)[at] = static_cast<int16_t>(value); break;
      case MILL_I32: static_cast<int32_t*>(out)[at] = static_cast<int32_t>(value); break;
      default: static_cast<int64_t*>(out)[at] = value; break;
    }
  } else {
    const auto narrow = static_cast<float>(value);
    switch (dtype) {
      case MILL_F16: static_cast<f16*>(out)[at] = down<f16>(narrow); break;
      case MILL_BF16: static_cast<bf16*>(out)[at] = down<bf16>(narrow); break;
      case MILL_F32: static_cast<float*>(out)[at] = narrow; break;
      default: static_cast<double*>(out)[at] = static_cast<double>(value); break;
    }
  }
}

// The parts of each output, which lie side by side, in order; of no parts, nothing's result.
template <class Op>
MILL_KERNEL(kTeamThreads<kWarp>, kTeamBlocks<kWarp>)
reduce_parts(Block t, MILL_PARAM(axis_list) kept, int64_t outputs, int64_t parts, double divisor,
             const typename Op::Total* partial, int32_t dtype, void* out) {
  const int64_t output = team_of_grid<kWarp>(t);
  auto total = Op::total();
  if (output < outputs) {
    for (int64_t p = t.lane(); p < parts; p += kWarp)
      total = Op::both(total, partial[output * parts + p]);
  }
  total = t.warp_reduce(total, total_op<Op>());
  if (output < outputs && t.lane() == 0)
    store_result(out, dtype, place_of(kept, output).out, Op::finish(total, divisor));
}
