// Rows of a table by index, and the reverse: row i of g is added at ids[i]. The reverse sorts the
// positions by row (embedding_sort.inl) and cuts the sorted list into parts of equal length; a part
// adds up its runs of one row in order, a second kernel joins the runs that parts have cut. No
// atomics: the order of every addition follows from the ids alone.

// out row i = weight row ids[i], in units of W values of U. A row that does not exist is zero.
template <int Threads, class U, int W>
MILL_KERNEL(Threads, 2)
gather_rows(Flat t, int64_t n, int64_t rows, int64_t units, int team_log2, const void* ids,
            int dtype, const U* weight, U* out, fault_slot* faults) {
  const int member = team_member_of(t, team_log2);
  for (int64_t i = team_index(t, team_log2); i < n; i += team_count(t, team_log2)) {
    const int64_t id = id_at(ids, dtype, i);
    const bool exists = is_row(id, rows);
    if (!exists && member == 0) raise_fault(faults, MILL_OP_EMBEDDING, 1, i, id, 0, rows);
    for (int64_t k = member; k < units; k += int64_t{1} << team_log2) {
      vec<U, W> v;
      if (exists) {
        v = load<W>(weight + (id * units + k) * W);
      } else {
        MILL_UNROLL
        for (int w = 0; w < W; ++w) v[w] = 0;
      }
      store(out + (i * units + k) * W, v);
    }
  }
}

// Where in the sorted list a row's positions lie; begin == end: nowhere.
template <class I>
struct row_run {
  I begin;
  I end;
};

// Reports ids out of range, which count as 0 from here on. row_of: each position's row, null where
// nobody wants it. No row has positions yet.
template <int Threads, class I>
MILL_KERNEL(Threads, 2)
read_ids(Flat t, int64_t n, int64_t rows, const void* ids, int dtype, fault_slot* faults, I* row_of,
         int64_t n_runs, row_run<I>* runs) {
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const int64_t id = id_at(ids, dtype, i);
    const bool exists = is_row(id, rows);
    if (!exists) raise_fault(faults, MILL_OP_EMBEDDING_BACKWARD, 1, i, id, 0, rows);
    if (row_of != nullptr) row_of[i] = exists ? static_cast<I>(id) : static_cast<I>(0);
  }
  for (int64_t r = t.global_id(); r < n_runs; r += t.global_size()) runs[r] = {0, 0};
}

// ---- adding -------------------------------------------------------------------------------------

// Positions of a part, and how many of them a thread reads at a time.
inline constexpr int64_t kPartPositions = 32;
inline constexpr int kPartAhead = 4;

template <class T, int W>
MILL_DEVICE void put_sum(T* to, const acc_t<T> (&sum)[W]) {
  vec<T, W> v;
  MILL_UNROLL
  for (int w = 0; w < W; ++w) v[w] = down<T>(sum[w]);
  store(to, v);
}
// W values of up to 16 bytes each way at a time.
template <int W, class C>
MILL_DEVICE void put_wide(C* to, const C (&sum)[W]) {
  constexpr int V = W * sizeof(C) <= 16 ? W : static_cast<int>(16 / sizeof(C));
  MILL_UNROLL
  for (int k = 0; k < W; k += V) {
    vec<C, V> v;
    MILL_UNROLL
    for (int w = 0; w < V; ++w) v[w] = sum[k + w];
    store(to + k, v);
  }
}
template <int W, class C>
MILL_DEVICE void add_wide(const C* from, C (&sum)[W]) {
  constexpr int V = W * sizeof(C) <= 16 ? W : static_cast<int>(16 / sizeof(C));
  MILL_UNROLL
  for (int k = 0; k < W; k += V) {
    const vec<C, V> v = load<V>(from + k);
    MILL_UNROLL
    for (int w = 0; w < V; ++w) sum[k + w] += v[w];
  }
}

// row_of and order: the sorted positions' rows, and the positions; order is null where they are
// sorted by themselves. Part c's first run goes to heads row c if it began in an earlier part, its
// last one to tails row c if it goes on; every other is a whole row of out.
template <int Threads, class T, int W, class I>
MILL_KERNEL(Threads, 2)
add_parts(Flat t, int64_t n, int64_t width, int team_log2, const I* row_of, const I* order,
          const T* g, T* out, acc_t<T>* heads, acc_t<T>* tails, row_run<I>* runs) {
  const int64_t parts = (n + kPartPositions - 1) / kPartPositions;
  const int member = team_member_of(t, team_log2);
  const int64_t step = static_cast<int64_t>(W) << team_log2;
  for (int64_t c = team_index(t, team_log2); c < parts; c += team_count(t, team_log2)) {
    const int64_t begin = c * kPartPositions;
    const int64_t end = begin + kPartPositions < n ? begin + kPartPositions : n;
    const bool cut_before = begin > 0 && row_of[begin - 1] == row_of[begin];
    const bool cut_after = end < n && row_of[end] == row_of[end - 1];
    for (int64_t column = static_cast<int64_t>(member) * W; column < width; column += step) {
      const bool notes = column == 0;  // one thread of the team
      I row = row_of[begin];
      bool whole = !cut_before;
      if (notes && whole) runs[row].begin = static_cast<I>(begin);
      acc_t<T> sum[W] = {};
      for (int64_t j = begin; j < end; j += kPartAhead) {
        I next[kPartAhead];
        vec<T, W> v[kPartAhead];
        MILL_UNROLL
        for (int k = 0; k < kPartAhead; ++k) {
          const int64_t at = j + k < end ? j + k : end - 1;
          const int64_t position = order == nullptr ? at : static_cast<int64_t>(order[at]);
          next[k] = row_of[at];
          v[k] = load<W>(g + position * width + column);
        }
        MILL_UNROLL
        for (int k = 0; k < kPartAhead; ++k) {
          if (j + k >= end) continue;
          if (next[k] != row) {
            if (whole) {
              put_sum(out + static_cast<int64_t>(row) * width + column, sum);
            } else {
              put_wide(heads + c * width + column, sum);
            }
            if (notes) {
              runs[row].end = static_cast<I>(j + k);
              runs[next[k]].begin = static_cast<I>(j + k);
            }
            row = next[k];
            whole = true;
            MILL_UNROLL
            for (int w = 0; w < W; ++w) sum[w] = 0;
          }
          MILL_UNROLL
          for (int w = 0; w < W; ++w) sum[w] += up(v[k][w]);
        }
      }
      if (notes && !cut_after) runs[row].end = static_cast<I>(end);
      if (!whole) {
        put_wide(heads + c * width + column, sum);
      } else if (cut_after) {
        put_wide(tails + c * width + column, sum);
      } else {
        put_sum(out + static_cast<int64_t>(row) * width + column, sum);
      }
    }
  }
}

// Rows without positions become zero, rows of several parts their sum.
template <int Threads, class T, int W, class I>
MILL_KERNEL(Threads, 2)
finish_rows(Flat t, int64_t rows, int64_t width, int team_log2, const row_run<I>* runs,
            const acc_t<T>* heads, const acc_t<T>* tails, T* out) {
  const int member = team_member_of(t, team_log2);
  const int64_t step = static_cast<int64_t>(W) << team_log2;
  for (int64_t r = team_index(t, team_log2); r < rows; r += team_count(t, team_log2)) {
    const auto begin = static_cast<int64_t>(runs[r].begin);
    const auto end = static_cast<int64_t>(runs[r].end);
    const int64_t first = begin / kPartPositions;
    const int64_t last = begin == end ? first : (end - 1) / kPartPositions;
    if (begin != end && first == last) continue;
    for (int64_t column = static_cast<int64_t>(member) * W; column < width; column += step) {
      acc_t<T> sum[W] = {};
      if (begin != end) add_wide(tails + first * width + column, sum);
      for (int64_t c = first + 1; c <= last; ++c) add_wide(heads + c * width + column, sum);
      put_sum(out + r * width + column, sum);
    }
  }
}
