// Pointwise kernels. f is a functor over the math vocabulary; the arithmetic type follows from the
// first input. Two forms: every operand one contiguous run, specialised for each functor; and units
// of W elements anywhere, in which functors share a kernel.

// ---- functors -----------------------------------------------------------------------------------

// One of several functors, chosen by the launch. What has no parameters ignores first and second.
template <class... Fs>
struct one_of {
  using choice = void;

  int which;
  double first;
  double second;

  template <class F>
  static constexpr int index() {
    int next = 0;
    int at = -1;
    ((std::is_same_v<F, Fs> ? at = next++ : next++), ...);
    return at;
  }
  template <class F>
  MILL_DEVICE F make() const {
    if constexpr (std::is_empty_v<F>) {
      return F();
    } else {
      return F{first, second};
    }
  }
  template <class Body>
  MILL_DEVICE void visit(Body&& body) const {
    // The last one is taken without a comparison, so that some body always runs.
    constexpr int kLast = static_cast<int>(sizeof...(Fs)) - 1;
    int next = 0;
    const auto turn = [&](const auto& f) {
      const int at = next++;
      if (at != which && at != kLast) return false;
      body(f);
      return true;
    };
    (void)(turn(make<Fs>()) || ...);
  }
};

// body(functor), chosen once for all that body does.
template <class F, class Body>
MILL_DEVICE void on(const F& f, Body&& body) {
  if constexpr (requires { typename F::choice; }) {
    f.visit(body);
  } else {
    body(f);
  }
}

// ---- memory -------------------------------------------------------------------------------------

// Any number of elements in registers.
template <class T, int N>
struct lanes {
  T v[N];
  MILL_DEVICE T& operator[](int i) { return v[i]; }
  MILL_DEVICE const T& operator[](int i) const { return v[i]; }
};

// How many of N elements one access moves.
template <class T, int N>
inline constexpr int kAccess = sizeof(T) * N <= 16 ? N : static_cast<int>(16 / sizeof(T));

template <int N, class T>
MILL_DEVICE lanes<T, N> read(const T* p) {
  lanes<T, N> out;
  if constexpr (N == 1) {
    out[0] = *p;
  } else {
    constexpr int A = kAccess<T, N>;
    MILL_UNROLL
    for (int i = 0; i < N; i += A) {
      const vec<T, A> part = load<A>(p + i);
      MILL_UNROLL
      for (int j = 0; j < A; ++j) out[i + j] = part[j];
    }
  }
  return out;
}

// Where splat, the one element at p throughout.
template <int N, class T>
MILL_DEVICE lanes<T, N> read(const T* p, bool splat) {
  if constexpr (N > 1) {
    if (splat) {
      const T value = *p;
      lanes<T, N> out;
      MILL_UNROLL
      for (int i = 0; i < N; ++i) out[i] = value;
      return out;
    }
  }
  return read<N>(p);
}

template <int N, class T>
MILL_DEVICE void write(T* p, const lanes<T, N>& x) {
  if constexpr (N == 1) {
    *p = x[0];
  } else {
    constexpr int A = kAccess<T, N>;
    MILL_UNROLL
    for (int i = 0; i < N; i += A) {
      vec<T, A> part;
      MILL_UNROLL
      for (int j = 0; j < A; ++j) part[j] = x[i + j];
      store(p + i, part);
    }
  }
}

// Offsets of unit `index`, which is below g.count: the slowest axis needs no division.
template <int N>
MILL_DEVICE typename geometry<N>::offsets place(const geometry<N>& g, uint32_t index) {
  typename geometry<N>::offsets o;
  for (int k = 0; k < N; ++k) o.at[k] = 0;
  const int last = g.rank - 1;
  for (int i = 0; i < last; ++i) {
    const uint32_t rest = g.size[i].quotient(index);
    const uint32_t here = index - rest * g.size[i].divisor;
    for (int k = 0; k < N; ++k) o.at[k] += g.stride[i][k] * static_cast<int64_t>(here);
    index = rest;
  }
  for (int k = 0; k < N; ++k) o.at[k] += g.stride[last][k] * static_cast<int64_t>(index);
  return o;
}

// ---- kernels ------------------------------------------------------------------------------------

// Every operand one run of n elements, all aligned to W of them.
template <int Threads, int W, class F, class Out, class In>
MILL_KERNEL(Threads, 2)
map1_contiguous(Flat t, MILL_PARAM(F) f, int64_t n, Out* out, const In* in) {
  const int64_t vectors = n / W;
  for (int64_t v = t.global_id(); v < vectors; v += t.global_size()) {
    const vec<In, W> a = load<W>(in + v * W);
    vec<Out, W> r;
    MILL_UNROLL
    for (int i = 0; i < W; ++i) r[i] = down<Out>(f(math_of<In>(), up(a[i])));
    store(out + v * W, r);
  }
  const int64_t rest = vectors * W + t.global_id();
  if (rest < n) out[rest] = down<Out>(f(math_of<In>(), up(in[rest])));
}

// Units of W elements. Bit k of splat: operand k is one value along a unit.
template <int Threads, int W, class F, class Out, class In>
MILL_KERNEL(Threads, 2)
map1_units(Flat t, MILL_PARAM(F) f, MILL_PARAM(geometry<2>) g, uint32_t splat, Out* out,
           const In* in) {
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size()) {
    const auto o = place(g, static_cast<uint32_t>(i));
    const lanes<In, W> a = read<W>(in + o.at[1], (splat & 2) != 0);
    lanes<Out, W> r;
    on(f, [&](const auto& one) {
      MILL_UNROLL
      for (int j = 0; j < W; ++j) r[j] = down<Out>(one(math_of<In>(), up(a[j])));
    });
    write(out + o.at[0], r);
  }
}

template <int Threads, int W, class F, class Out, class A, class B>
MILL_KERNEL(Threads, 2)
map2_contiguous(Flat t, MILL_PARAM(F) f, int64_t n, Out* out, const A* in0, const B* in1) {
  const int64_t vectors = n / W;
  for (int64_t v = t.global_id(); v < vectors; v += t.global_size()) {
    const vec<A, W> a = load<W>(in0 + v * W);
    const vec<B, W> b = load<W>(in1 + v * W);
    vec<Out, W> r;
    MILL_UNROLL
    for (int i = 0; i < W; ++i) r[i] = down<Out>(f(math_of<A>(), up(a[i]), up(b[i])));
    store(out + v * W, r);
  }
  const int64_t rest = vectors * W + t.global_id();
  if (rest < n) out[rest] = down<Out>(f(math_of<A>(), up(in0[rest]), up(in1[rest])));
}

template <int Threads, int W, class F, class Out, class A, class B>
MILL_KERNEL(Threads, 2)
map2_units(Flat t, MILL_PARAM(F) f, MILL_PARAM(geometry<3>) g, uint32_t splat, Out* out,
           const A* in0, const B* in1) {
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size()) {
    const auto o = place(g, static_cast<uint32_t>(i));
    const lanes<A, W> a = read<W>(in0 + o.at[1], (splat & 2) != 0);
    const lanes<B, W> b = read<W>(in1 + o.at[2], (splat & 4) != 0);
    lanes<Out, W> r;
    on(f, [&](const auto& one) {
      MILL_UNROLL
      for (int j = 0; j < W; ++j) r[j] = down<Out>(one(math_of<A>(), up(a[j]), up(b[j])));
    });
    write(out + o.at[0], r);
  }
}
