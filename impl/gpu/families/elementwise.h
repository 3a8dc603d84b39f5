// Launches of pointwise kernels. A family includes kernels/block/elementwise.inl first, then this,
// both inside its anonymous namespace: it has no guard and includes nothing.

// Elements that fill 16 bytes.
template <class T>
inline constexpr int kVector = static_cast<int>(16 / sizeof(T));
// Shared kernels hold the code of several functors, each W times over: half as long for costly
// ones.
template <class T>
inline constexpr int kHalfVector = static_cast<int>(8 / sizeof(T));

// ---- sizes --------------------------------------------------------------------------------------

// A grid of flat lanes for n items; small ones get small blocks.
inline shape shape_for(int64_t n) {
  const auto threads = static_cast<int>(smaller<int64_t>(kThreads, ceil_div(n, kWarp) * kWarp));
  return {blocks_for(n, threads), larger(threads, kWarp)};
}

// Bytes of the elements that a view shows, each counted once however often it is broadcast.
inline uint64_t distinct_bytes(const mill_kernel_tensor& t) {
  int64_t n = mill::dtype_size(t.dtype);
  for (int32_t i = 0; i < t.rank; ++i) {
    if (t.strides[i] != 0 || t.dims[i] == 0) n *= t.dims[i];
  }
  return static_cast<uint64_t>(n);
}

// What a launch of `part` of the `whole` elements costs.
inline cost share_of(const cost& c, int64_t part, int64_t whole) {
  if (part == whole) return c;
  const double share = static_cast<double>(part) / static_cast<double>(whole);
  return {static_cast<uint64_t>(static_cast<double>(c.bytes) * share),
          static_cast<uint64_t>(static_cast<double>(c.flops) * share), c.unit};
}

// ---- units --------------------------------------------------------------------------------------

// Where operands lie and how many bytes an element has.
template <int N>
struct layout {
  const void* data[N];
  size_t size[N];
};

// Makes the walk one over units of `width` elements, if every operand is contiguous and aligned
// along its fastest axis, or one value there (its bit of splat). Operand 0 is the output.
template <int N>
bool to_units(walk<N>* w, int width, const layout<N>& at, uint32_t* splat) {
  if (w->size[0] % width != 0 || w->stride[0][0] != 1) return false;
  *splat = 0;
  for (int k = 0; k < N; ++k) {
    if (w->stride[0][k] == 0) {
      *splat |= 1U << static_cast<uint32_t>(k);
      continue;
    }
    const size_t access = smaller<size_t>(16, at.size[k] * static_cast<size_t>(width));
    if (w->stride[0][k] != 1 || !aligned(at.data[k], access)) return false;
    for (int32_t i = 1; i < w->rank; ++i) {
      if (w->stride[i][k] * static_cast<int64_t>(at.size[k]) % static_cast<int64_t>(access) != 0)
        return false;
    }
  }
  w->size[0] /= width;
  for (int k = 0; k < N; ++k) w->stride[0][k] *= width;
  return true;
}

// From here on a second launch for what is left of the last unit costs less than single elements.
inline constexpr int64_t kWorthTwoLaunches = 1 << 17;

// Calls call.operator()<U>(geometry, splat, offsets) until the walk is done, U being W wherever the
// operands allow it, else 1; offsets as in each_part.
template <int W, int N, class F>
mill_status each_unit(const walk<N>& w, const layout<N>& at, F&& call) {
  const auto singly = [&](const geometry<N>& g, const int64_t(&o)[N]) {
    return call.template operator()<1>(g, 0U, o);
  };
  if constexpr (W > 1) {
    const int64_t rest = w.size[0] % W;
    const bool split = rest != 0 && w.rank == 1 && w.size[0] >= kWorthTwoLaunches;
    walk<N> units = w;
    if (split) units.size[0] -= rest;
    uint32_t splat = 0;
    if (to_units(&units, W, at, &splat)) {
      const mill_status status = each_part(units, [&](const geometry<N>& g, const int64_t(&o)[N]) {
        return call.template operator()<W>(g, splat, o);
      });
      if (status != MILL_OK || !split) return status;
      walk<N> tail = w;
      tail.size[0] = rest;
      return each_part(tail, [&](const geometry<N>& g, const int64_t(&)[N]) {
        int64_t from[N];
        for (int k = 0; k < N; ++k) from[k] = (w.size[0] - rest) * w.stride[0][k];
        return singly(g, from);
      });
    }
  }
  return each_part(w, singly);
}

// ---- launches -----------------------------------------------------------------------------------

// One input. F is the functor, Any one that holds it and is shared with others by the kernels of
// units of W elements. Where both are the same type, no kernel is made for contiguous operands.
template <class T, int W, class F, class Any>
mill_status map1(const mill_kernel_args* args, const F& f, const Any& any, uint64_t flops_each) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& in = *args->in[0];
  if (out.numel == 0) return MILL_OK;
  const walk<2> w(out, {&out, &in});
  auto* to = static_cast<T*>(out.data);
  const auto* from = static_cast<const T*>(in.data);
  const cost c{bytes_of(&out) + distinct_bytes(in), flops_each * static_cast<uint64_t>(out.numel),
               sizeof(acc_t<T>) == 8 ? unit::f64 : unit::f32};
  if constexpr (!std::is_same_v<F, Any>) {
    constexpr int V = kVector<T>;
    if (w.contiguous() && aligned(to, 16) && aligned(from, 16)) {
      return launch<map1_contiguous<kThreads, V, F, T, T>>(args, shape_for(ceil_div(out.numel, V)),
                                                           c, f, out.numel, to, from);
    }
  }
  return each_unit<W>(w, layout<2>{{to, from}, {sizeof(T), sizeof(T)}},
                      [&]<int U>(const geometry<2>& g, uint32_t splat, const int64_t(&o)[2]) {
                        return launch<map1_units<kThreads, U, Any, T, T>>(
                            args, shape_for(g.count), share_of(c, int64_t{g.count} * U, out.numel),
                            any, g, splat, to + o[0], from + o[1]);
                      });
}

template <class T, int W, class F, class Any>
mill_status map2(const mill_kernel_args* args, const F& f, const Any& any, uint64_t flops_each) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& a = *args->in[0];
  const mill_kernel_tensor& b = *args->in[1];
  if (out.numel == 0) return MILL_OK;
  const walk<3> w(out, {&out, &a, &b});
  auto* to = static_cast<T*>(out.data);
  const auto* in0 = static_cast<const T*>(a.data);
  const auto* in1 = static_cast<const T*>(b.data);
  const cost c{bytes_of(&out) + distinct_bytes(a) + distinct_bytes(b),
               flops_each * static_cast<uint64_t>(out.numel),
               sizeof(acc_t<T>) == 8 ? unit::f64 : unit::f32};
  if constexpr (!std::is_same_v<F, Any>) {
    constexpr int V = kVector<T>;
    if (w.contiguous() && aligned(to, 16) && aligned(in0, 16) && aligned(in1, 16)) {
      return launch<map2_contiguous<kThreads, V, F, T, T, T>>(
          args, shape_for(ceil_div(out.numel, V)), c, f, out.numel, to, in0, in1);
    }
  }
  return each_unit<W>(w, layout<3>{{to, in0, in1}, {sizeof(T), sizeof(T), sizeof(T)}},
                      [&]<int U>(const geometry<3>& g, uint32_t splat, const int64_t(&o)[3]) {
                        return launch<map2_units<kThreads, U, Any, T, T, T>>(
                            args, shape_for(g.count), share_of(c, int64_t{g.count} * U, out.numel),
                            any, g, splat, to + o[0], in0 + o[1], in1 + o[2]);
                      });
}
