// Rotary position embedding. A table has each position's cosines and sines, computed in f64. After
// ids.inl.

struct rotary_turns {
  int64_t features;
  int64_t pairs;
  int64_t length;  // positions of a sequence
  int64_t each;    // rows of x that have one row of positions, 0: all share it
  bool neighbours;
};

// positions null: 0, 1, ...
template <int Threads, class C>
MILL_KERNEL(Threads, 2)
rotary_table(Flat t, int64_t n, int64_t pairs, double base, double sign, const void* positions,
             int dtype, C* cosines, C* sines) {
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const int64_t row = i / pairs;
    const int64_t j = i - row * pairs;
    const int64_t at = positions == nullptr ? row : id_at(positions, dtype, row);
    const double power = -static_cast<double>(j) / static_cast<double>(pairs);
    const double angle = static_cast<double>(at) * pow_(base, power);
    cosines[i] = static_cast<C>(cos_(angle));
    sines[i] = static_cast<C>(sign * sin_(angle));
  }
}

// A thread has a pair, or a feature that stays. out may be x.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
rotary_pairs(Flat t, int64_t n, MILL_PARAM(rotary_turns) g, const acc_t<T>* cosines,
             const acc_t<T>* sines, const T* x, T* out) {
  using C = acc_t<T>;
  const int64_t items = g.features - g.pairs;
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const int64_t row = i / items;
    const int64_t j = i - row * items;
    const int64_t first = row * g.features;
    if (j >= g.pairs) {
      out[first + g.pairs + j] = x[first + g.pairs + j];
      continue;
    }
    const int64_t position = row % g.length;
    const int64_t at = g.each == 0 ? position : row / g.each * g.length + position;
    const C c = cosines[at * g.pairs + j];
    const C s = sines[at * g.pairs + j];
    const int64_t left = first + (g.neighbours ? 2 * j : j);
    const int64_t right = g.neighbours ? left + 1 : left + g.pairs;
    const C a = up(x[left]);
    const C b = up(x[right]);
    out[left] = down<T>(a * c - b * s);
    out[right] = down<T>(a * s + b * c);
  }
}
