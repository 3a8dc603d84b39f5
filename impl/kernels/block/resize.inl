// Resizing, and its gradient. One launch fills tables of what each element is made from along each
// axis; then a thread has an element of the result, or of the gradient.

template <int Threads, class C>
MILL_KERNEL(Threads, 2)
resize_tables(Flat t, MILL_PARAM(mill::kernels::ResizeShape) r, mill::kernels::ResizeTap<C>* taps,
              mill::kernels::ResizeSpan* spans) {
  const int64_t all = r.all_taps + (spans == nullptr ? 0 : r.all_spans);
  for (int64_t i = t.global_id(); i < all; i += t.global_size()) {
    const bool is_tap = i < r.all_taps;
    const int64_t at = is_tap ? i : i - r.all_taps;
    int axis = 0;
    while (axis < 2 && at >= (is_tap ? r.taps[axis + 1] : r.spans[axis + 1])) ++axis;
    if (is_tap) {
      taps[at] = mill::kernels::resize_tap<C>(r.axis[axis], at - r.taps[axis]);
    } else {
      spans[at] = mill::kernels::resize_span(r.axis[axis], at - r.spans[axis]);
    }
  }
}

// An element of [batch, channels, spatial axes]; neighbouring threads have neighbouring channels
// where those are next to one another in memory, else neighbouring columns.
struct resize_element {
  int64_t batch, channel, at[3];
};
MILL_DEVICE resize_element resize_element_of(const mill::kernels::ResizeShape& r, bool of_input,
                                             bool channels_first, int64_t i) {
  resize_element e;
  const int64_t space = channels_first ? i / r.channels : i;
  if (channels_first) e.channel = i - space * r.channels;
  int64_t rest = space;
  for (int a = 2; a >= 0; --a) {
    const int64_t n = of_input ? r.axis[a].in : r.axis[a].out;
    const int64_t next = rest / n;
    e.at[a] = rest - next * n;
    rest = next;
  }
  e.batch = channels_first ? rest : rest / r.channels;
  if (!channels_first) e.channel = rest - e.batch * r.channels;
  return e;
}

MILL_DEVICE int64_t resize_offset(const mill::kernels::PoolStrides& s, const resize_element& e,
                                  int64_t z, int64_t y, int64_t x) {
  return e.batch * s.batch + e.channel * s.channel + z * s.space[0] + y * s.space[1] +
         x * s.space[2];
}

template <class T, int Threads>
MILL_KERNEL(Threads, 2)
resize_cells(Flat t, MILL_PARAM(mill::kernels::ResizeShape) r, int64_t n, bool channels_first,
             const mill::kernels::ResizeTap<acc_t<T>>* taps, const T* x, T* out) {
  using C = acc_t<T>;
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const resize_element e = resize_element_of(r, false, channels_first, i);
    const mill::kernels::ResizeTap<C>* z = taps + r.taps[0] + e.at[0];
    const mill::kernels::ResizeTap<C>* y = taps + r.taps[1] + e.at[1];
    const mill::kernels::ResizeTap<C>* c = taps + r.taps[2] + e.at[2];
    C sum = 0;
    for (int a = 0; a < r.axis[0].taps; ++a) {
      for (int b = 0; b < r.axis[1].taps; ++b) {
        const int64_t row = resize_offset(r.in, e, z->at[a], y->at[b], 0);
        C line = 0;
        for (int k = 0; k < r.axis[2].taps; ++k)
          line += c->weight[k] * up(x[row + c->at[k] * r.in.space[2]]);
        sum += z->weight[a] * y->weight[b] * line;
      }
    }
    out[resize_offset(r.out, e, e.at[0], e.at[1], e.at[2])] = down<T>(sum);
  }
}

// How much of element i goes to the one whose taps these are.
template <class C>
MILL_DEVICE C resize_share(const mill::kernels::ResizeTap<C>& tap, int taps, int64_t i) {
  C sum = 0;
  for (int k = 0; k < taps; ++k) sum += tap.at[k] == i ? tap.weight[k] : static_cast<C>(0);
  return sum;
}

template <class T, int Threads>
MILL_KERNEL(Threads, 2)
resize_gradient_cells(Flat t, MILL_PARAM(mill::kernels::ResizeShape) r, int64_t n,
                      bool channels_first, const mill::kernels::ResizeTap<acc_t<T>>* taps,
                      const mill::kernels::ResizeSpan* spans, const T* g, T* out) {
  using C = acc_t<T>;
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const resize_element e = resize_element_of(r, true, channels_first, i);
    const mill::kernels::ResizeSpan z = spans[r.spans[0] + e.at[0]];
    const mill::kernels::ResizeSpan y = spans[r.spans[1] + e.at[1]];
    const mill::kernels::ResizeSpan x = spans[r.spans[2] + e.at[2]];
    C sum = 0;
    for (int64_t a = z.begin; a < z.end; ++a) {
      const C wz = resize_share(taps[r.taps[0] + a], r.axis[0].taps, e.at[0]);
      for (int64_t b = y.begin; b < y.end; ++b) {
        const C wy = wz * resize_share(taps[r.taps[1] + b], r.axis[1].taps, e.at[1]);
        C line = 0;
        for (int64_t k = x.begin; k < x.end; ++k) {
          const C w = resize_share(taps[r.taps[2] + k], r.axis[2].taps, e.at[2]);
          line += w * up(g[resize_offset(r.out, e, a, b, k)]);
        }
        sum += wy * line;
      }
    }
    out[resize_offset(r.in, e, e.at[0], e.at[1], e.at[2])] = down<T>(sum);
  }
}
