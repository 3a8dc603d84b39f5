// Gathers and scatters along an axis. After elementwise.inl and ids.inl. No atomics: a part of a
// line of the result belongs to one thread, which reads the line's indices in order.

// Line i of out, i = (outer, at), is the line of x that index[at] names along the axis of size n,
// in units of W values of U. A line that does not exist is zero.
template <int Threads, class U, int W>
MILL_KERNEL(Threads, 2)
gather_slices(Flat t, int64_t lines, int64_t picked, int64_t n, int64_t units, int team_log2,
              const void* index, int dtype, const U* x, U* out, fault_slot* faults) {
  const int member = team_member_of(t, team_log2);
  for (int64_t i = team_index(t, team_log2); i < lines; i += team_count(t, team_log2)) {
    const int64_t outer = i / picked;
    const int64_t at = i - outer * picked;
    const int64_t id = id_at(index, dtype, at);
    const bool exists = is_row(id, n);
    if (!exists && member == 0 && outer == 0) raise_fault(faults, MILL_OP_GATHER, 1, at, id, 0, n);
    for (int64_t k = member; k < units; k += int64_t{1} << team_log2) {
      vec<U, W> v;
      if (exists) {
        v = load<W>(x + ((outer * n + id) * units + k) * W);
      } else {
        MILL_UNROLL
        for (int w = 0; w < W; ++w) v[w] = 0;
      }
      store(out + (i * units + k) * W, v);
    }
  }
}

// g walks index (and out, which has its dims) and x, whose stride along the axis is 0 there and
// `step` in truth. first: offset of this part of the walk in index.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
gather_cells(Flat t, MILL_PARAM(geometry<2>) g, int64_t first, int64_t n, int64_t step,
             const void* index, int dtype, const T* x, T* out, fault_slot* faults) {
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size()) {
    const auto o = place(g, static_cast<uint32_t>(i));
    const int64_t at = first + o.at[0];
    const int64_t id = id_at(index, dtype, at);
    if (is_row(id, n)) {
      out[at] = x[o.at[1] + id * step];
    } else {
      raise_fault(faults, MILL_OP_GATHER_ELEMENTS, 1, at, id, 0, n);
      out[at] = T{};
    }
  }
}

// mill_scatter_reductions
enum joining { kJoinSet, kJoinAdd, kJoinMul, kJoinMax, kJoinMin };

template <class T>
MILL_DEVICE T joined(T old, T update, int how) {
  using M = math_of<T>;
  const auto a = up(old);
  const auto b = up(update);
  switch (how) {
    case kJoinAdd: return down<T>(M::add(a, b));
    case kJoinMul: return down<T>(M::mul(a, b));
    case kJoinMax: return down<T>(M::maximum(a, b));
    case kJoinMin: return down<T>(M::minimum(a, b));
    default: return update;
  }
}

struct scatter_line {
  int64_t length;  // of index along the axis
  int64_t step;    // between neighbours along it, in index and updates
  int64_t size;    // of out along the axis
  int64_t whole_step;
};

// g walks the lines of index along the axis, and where they begin in index and in out; first: the
// offset of this part of the walk in index. Each line of out is cut into `parts`.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
scatter_lines(Flat t, MILL_PARAM(geometry<2>) g, int64_t first, int64_t parts,
              MILL_PARAM(scatter_line) line, int how, const void* index, int dtype,
              const T* updates, T* out, fault_slot* faults) {
  const int64_t all = parts * g.count;
  for (int64_t i = t.global_id(); i < all; i += t.global_size()) {
    const int64_t part = i / g.count;
    const auto o = place(g, static_cast<uint32_t>(i - part * g.count));
    const int64_t low = line.size * part / parts;
    const int64_t high = line.size * (part + 1) / parts;
    int64_t at = first + o.at[0];
    for (int64_t j = 0; j < line.length; ++j, at += line.step) {
      const int64_t id = id_at(index, dtype, at);
      if (id >= low && id < high) {
        T* cell = out + o.at[1] + id * line.whole_step;
        *cell = joined(*cell, updates[at], how);
      } else if (part == 0 && !is_row(id, line.size)) {
        raise_fault(faults, MILL_OP_SCATTER_ELEMENTS, 1, at, id, 0, line.size);
      }
    }
  }
}
