// Pointwise kernels of two and three tensors whose result has another type than the arithmetic.
// After elementwise.inl and convert.inl.

struct Pow {
  template <class M>
  MILL_DEVICE typename M::V operator()(M, typename M::V a, typename M::V b) const {
    return pow_(a, b);
  }
};

// ---- compare ------------------------------------------------------------------------------------

// What two elements are compared by.
template <class S>
MILL_DEVICE auto compared(const S& v) {
  if constexpr (std::is_same_v<S, boolean>) {
    return v.bits != 0;
  } else if constexpr (kIsF8<S>) {
    return f8_value(v);
  } else {
    return up(v);
  }
}

template <class S>
MILL_DEVICE bool equal(const S& a, const S& b) {
  if constexpr (kIsComplex<S>) {
    return a.re == b.re && a.im == b.im;
  } else {
    return compared(a) == compared(b);
  }
}

// relation: as in the op's row. Complex numbers have no order.
template <int Threads, int W, class S>
MILL_KERNEL(Threads, 2)
compare_units(Flat t, int32_t relation, MILL_PARAM(geometry<3>) g, uint32_t splat, uint8_t* out,
              const S* in0, const S* in1) {
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size()) {
    const auto o = place(g, static_cast<uint32_t>(i));
    const lanes<S, W> a = read<W>(in0 + o.at[1], (splat & 2) != 0);
    const lanes<S, W> b = read<W>(in1 + o.at[2], (splat & 4) != 0);
    lanes<uint8_t, W> r;
    const auto each = [&](auto holds) {
      MILL_UNROLL
      for (int j = 0; j < W; ++j) r[j] = static_cast<uint8_t>(holds(a[j], b[j]));
    };
    if (relation == MILL_COMPARE_EQ) {
      each([](const S& x, const S& y) { return equal(x, y); });
    } else if (kIsComplex<S> || relation == MILL_COMPARE_NE) {
      each([](const S& x, const S& y) { return !equal(x, y); });
    } else if constexpr (!kIsComplex<S>) {
      if (relation == MILL_COMPARE_LT) {
        each([](const S& x, const S& y) { return compared(x) < compared(y); });
      } else if (relation == MILL_COMPARE_LE) {
        each([](const S& x, const S& y) { return compared(x) <= compared(y); });
      } else if (relation == MILL_COMPARE_GT) {
        each([](const S& x, const S& y) { return compared(x) > compared(y); });
      } else {
        each([](const S& x, const S& y) { return compared(x) >= compared(y); });
      }
    }
    write(out + o.at[0], r);
  }
}

// ---- where --------------------------------------------------------------------------------------

// T: anything of the elements' size.
template <int Threads, int W, class T>
MILL_KERNEL(Threads, 2)
where_units(Flat t, MILL_PARAM(geometry<4>) g, uint32_t splat, T* out, const uint8_t* condition,
            const T* in0, const T* in1) {
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size()) {
    const auto o = place(g, static_cast<uint32_t>(i));
    const lanes<uint8_t, W> c = read<W>(condition + o.at[1], (splat & 2) != 0);
    const lanes<T, W> a = read<W>(in0 + o.at[2], (splat & 4) != 0);
    const lanes<T, W> b = read<W>(in1 + o.at[3], (splat & 8) != 0);
    lanes<T, W> r;
    MILL_UNROLL
    for (int j = 0; j < W; ++j) r[j] = c[j] != 0 ? a[j] : b[j];
    write(out + o.at[0], r);
  }
}
