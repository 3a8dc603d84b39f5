// Casts between all dtypes, and arange. After elementwise.inl and convert.inl.

// Contiguous operands of the dtypes that are cast most.
template <int Threads, int W, class Out, class In>
MILL_KERNEL(Threads, 2)
cast_contiguous(Flat t, int64_t n, Out* out, const In* in) {
  const auto one = [](In v) { return storage_of<Out>(value_of<middle_t<In>>(v)); };
  const int64_t units = n / W;
  for (int64_t i = t.global_id(); i < units; i += t.global_size()) {
    const lanes<In, W> a = read<W>(in + i * W);
    lanes<Out, W> r;
    MILL_UNROLL
    for (int j = 0; j < W; ++j) r[j] = one(a[j]);
    write(out + i * W, r);
  }
  const int64_t rest = units * W + t.global_id();
  if (rest < n) out[rest] = one(in[rest]);
}

// From all storage types that pass through C to any other. The dtypes are the same for all lanes.
template <int Threads, int W, class C>
MILL_KERNEL(Threads, 2)
cast_units(Flat t, MILL_PARAM(geometry<2>) g, uint32_t splat, int32_t to, int32_t from, void* out,
           const void* in) {
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size()) {
    const auto o = place(g, static_cast<uint32_t>(i));
    lanes<C, W> middle = {};
    with_storage_of<C>(from, [&]<class S>() {
      const lanes<S, W> a = read<W>(static_cast<const S*>(in) + o.at[1], (splat & 2) != 0);
      MILL_UNROLL
      for (int j = 0; j < W; ++j) middle[j] = value_of<C>(a[j]);
    });
    with_storage(to, [&]<class S>() {
      lanes<S, W> r;
      MILL_UNROLL
      for (int j = 0; j < W; ++j) r[j] = storage_of<S>(middle[j]);
      write(static_cast<S*>(out) + o.at[0], r);
    });
  }
}

// Element i is start + i * step, rounded once before it is converted.
template <int Threads>
MILL_KERNEL(Threads, 2)
arange_elements(Flat t, int64_t n, int64_t stride, double start, double step, int32_t dtype,
                void* out) {
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const double value = fused_(static_cast<double>(i), step, start);
    with_storage(dtype,
                 [&]<class S>() { static_cast<S*>(out)[i * stride] = storage_of<S>(value); });
  }
}
