// Running sums along an axis of [outer, n, inner]. Floats are added up in f64: beside reading and
// writing an element that costs nothing. After block_scan.inl.

template <class T>
using sum_t = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;

struct scan_order {
  int64_t n;
  bool exclusive;
  bool reverse;
};

template <class T>
MILL_DEVICE sum_t<T> term(T x) {
  return static_cast<sum_t<T>>(up(x));
}

// A thread for each column.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
cumsum_columns(Flat t, int64_t columns, int64_t inner, MILL_PARAM(scan_order) order, const T* x,
               T* out) {
  for (int64_t i = t.global_id(); i < columns; i += t.global_size()) {
    const int64_t outer = i / inner;
    const int64_t start = outer * order.n * inner + (i - outer * inner);
    sum_t<T> sum = 0;
    for (int64_t k = 0; k < order.n; ++k) {
      const int64_t at = start + (order.reverse ? order.n - 1 - k : k) * inner;
      const sum_t<T> before = sum;
      sum += term(x[at]);
      out[at] = down<T>(order.exclusive ? before : sum);
    }
  }
}

inline constexpr int kScanItems = 4;  // of a thread, neighbours

// A block for each row, tile after tile.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
cumsum_rows(Block t, int64_t rows, MILL_PARAM(scan_order) order, const T* x, T* out) {
  using C = sum_t<T>;
  using Slots = scan_slots<C>;
  MILL_SHARED(t, Slots, s);
  for (int64_t row = t.bid(); row < rows; row += t.grid_dim()) {
    const int64_t start = row * order.n;
    C carry = 0;
    for (int64_t tile = 0; tile < order.n; tile += Threads * kScanItems) {
      C values[kScanItems];
      C mine = 0;
      MILL_UNROLL
      for (int k = 0; k < kScanItems; ++k) {
        const int64_t i = tile + t.tid() * kScanItems + k;
        values[k] = i < order.n ? term(x[start + (order.reverse ? order.n - 1 - i : i)])
                                : static_cast<C>(0);
        mine += values[k];
      }
      C all = 0;
      C sum = carry + block_scan(t, s, mine, &all) - mine;
      MILL_UNROLL
      for (int k = 0; k < kScanItems; ++k) {
        const int64_t i = tile + t.tid() * kScanItems + k;
        const C before = sum;
        sum += values[k];
        if (i < order.n)
          out[start + (order.reverse ? order.n - 1 - i : i)] =
              down<T>(order.exclusive ? before : sum);
      }
      carry += all;
    }
  }
}
