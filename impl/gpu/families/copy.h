// Launches of copies and fills. A family includes elementwise.inl, convert.inl and copy.inl of
// kernels/block and elementwise.h first, then this, all inside its anonymous namespace: it has no
// guard and includes nothing.

// The bytes that one lane moves at a time, as kernel template arguments.
template <class F>
mill_status with_unit(int bytes, bool whole, F&& call) {
  switch (bytes) {
    case 1: return call.template operator()<1, uint8_t>();
    case 2: return call.template operator()<1, uint16_t>();
    case 4: return call.template operator()<1, uint32_t>();
    case 8: return call.template operator()<1, uint64_t>();
    default: break;
  }
  return whole ? call.template operator()<2, uint64_t>() : call.template operator()<1, bytes16>();
}

// The walk counted in bytes along its contiguous axis becomes one in the widest unit that fits
// everywhere, of elements of T = `unit` bytes or half of that at 16. False where some operand is
// not contiguous there.
template <int N>
bool to_widest(walk<N>* w, const void* const (&data)[N], int64_t element, int* unit) {
  for (int k = 0; k < N; ++k) {
    if (w->stride[0][k] != 1) return false;
  }
  int64_t bytes = 16;
  for (; bytes > 1; bytes /= 2) {
    bool fits = w->size[0] * element % bytes == 0;
    for (int k = 0; k < N && fits; ++k) {
      fits = aligned(data[k], static_cast<size_t>(bytes));
      for (int32_t i = 1; i < w->rank && fits; ++i) fits = w->stride[i][k] * element % bytes == 0;
    }
    if (fits) break;
  }
  *unit = static_cast<int>(bytes);
  const int64_t word = smaller<int64_t>(bytes, 8);
  w->size[0] = w->size[0] * element / bytes;
  for (int k = 0; k < N; ++k) {
    w->stride[0][k] = bytes / word;
    for (int32_t i = 1; i < w->rank; ++i) w->stride[i][k] = w->stride[i][k] * element / word;
  }
  return true;
}

// Of a contiguous walk in two: how many of its elements fill whole units of 16 bytes. 0 where one
// launch is as good.
inline int64_t whole_part(int32_t rank, int64_t n, int64_t element) {
  const int64_t rest = n % larger<int64_t>(1, 16 / element);
  return rank == 1 && rest != 0 && n >= kWorthTwoLaunches ? n - rest : 0;
}

// ---- copies -------------------------------------------------------------------------------------

inline mill_status copy_walk(const mill_kernel_args* args, walk<2> w, char* to, const char* from,
                             int64_t element, const cost& c) {
  const int64_t whole =
      w.stride[0][0] == 1 && w.stride[0][1] == 1 ? whole_part(w.rank, w.size[0], element) : 0;
  if (whole != 0 && aligned(to, 16) && aligned(from, 16)) {
    walk<2> tail = w;
    tail.size[0] -= whole;
    w.size[0] = whole;
    const int64_t done = whole * element;
    const mill_status status = copy_walk(args, tail, to + done, from + done, element, cost{0});
    if (status != MILL_OK) return status;
  }
  int unit = static_cast<int>(element);
  const bool whole_units = to_widest(&w, {to, from}, element, &unit);
  const int64_t total = w.count();
  return with_unit(unit, whole_units, [&]<int W, class T>() {
    auto* out = reinterpret_cast<T*>(to);
    const auto* in = reinterpret_cast<const T*>(from);
    return each_part(w, [&](const geometry<2>& g, const int64_t(&o)[2]) {
      return launch<copy_units<kThreads, W, T>>(
          args, shape_for(g.count), share_of(c, g.count, total), g, out + o[0], in + o[1]);
    });
  });
}

// The axis along which the input is contiguous, if a transposition through tiles pays; else 0.
inline int32_t crossing_axis(const walk<2>& w) {
  // Half a tile: below that most of its lanes have nothing to do.
  constexpr int64_t kLeast = kTile / 2;
  if (w.stride[0][0] != 1 || w.stride[0][1] <= 1 || w.size[0] < kLeast) return 0;
  for (int32_t i = 1; i < w.rank; ++i) {
    if (w.stride[i][1] == 1 && w.size[i] >= kLeast) return i;
  }
  return 0;
}

inline mill_status copy_across(const mill_kernel_args* args, const walk<2>& w, int32_t cross,
                               char* to, const char* from, int64_t element, const cost& c,
                               bool* done) {
  geometry<4> g{};
  g.rank = 0;
  int64_t count = 1;
  for (int32_t i = 0; i < w.rank; ++i) {
    const bool tiled = i == 0 || i == cross;
    const int64_t step = tiled ? kTile : 1;
    const int64_t size = ceil_div(w.size[i], step);
    // More tiles than one launch can number: the caller's other way does them in parts.
    if (size >= (int64_t{1} << 31) / count) return MILL_OK;
    count *= size;
    g.size[g.rank] = fast_div::by(static_cast<uint32_t>(size));
    g.stride[g.rank][0] = w.stride[i][0] * step;
    g.stride[g.rank][1] = w.stride[i][1] * step;
    g.stride[g.rank][2] = i == 0 ? kTile : 0;
    g.stride[g.rank][3] = i == cross ? kTile : 0;
    ++g.rank;
  }
  g.count = static_cast<uint32_t>(count);
  *done = true;
  return with_unit(static_cast<int>(element), false, [&]<int, class T>() {
    return launch<copy_transposed<kThreads, T>>(args, {smaller<int64_t>(count, 132 * 16), kThreads},
                                                c, g, w.size[0], w.size[cross], w.stride[cross][0],
                                                w.stride[0][1], reinterpret_cast<T*>(to),
                                                reinterpret_cast<const T*>(from));
  });
}

// `to` and `from` have the same dims and dtype and do not overlap.
inline mill_status copy_tensor(const mill_kernel_args* args, const mill_kernel_tensor& to,
                               const mill_kernel_tensor& from) {
  if (to.numel == 0) return MILL_OK;
  const int64_t element = mill::dtype_size(to.dtype);
  const walk<2> w(to, {&to, &from});
  const cost c{bytes_of(&to) + distinct_bytes(from)};
  auto* out = static_cast<char*>(to.data);
  const auto* in = static_cast<const char*>(from.data);
  if (const int32_t cross = crossing_axis(w); cross != 0) {
    bool done = false;
    const mill_status status = copy_across(args, w, cross, out, in, element, c, &done);
    if (done) return status;
  }
  return copy_walk(args, w, out, in, element, c);
}

// ---- fill ---------------------------------------------------------------------------------------

inline mill_status fill_walk(const mill_kernel_args* args, walk<1> w, char* to, int32_t dtype,
                             double value, const cost& c) {
  const int64_t element = mill::dtype_size(dtype);
  const int64_t whole = w.stride[0][0] == 1 ? whole_part(w.rank, w.size[0], element) : 0;
  if (whole != 0 && aligned(to, 16)) {
    walk<1> tail = w;
    tail.size[0] -= whole;
    w.size[0] = whole;
    const mill_status status = fill_walk(args, tail, to + whole * element, dtype, value, cost{0});
    if (status != MILL_OK) return status;
  }
  int unit = static_cast<int>(element);
  const void* data[] = {to};
  const walk<1> elements = w;
  bool whole_units = to_widest(&w, data, element, &unit);
  // A unit is never part of an element here: what it holds would depend on which part.
  if (whole_units && unit < element) {
    w = elements;
    unit = static_cast<int>(element);
    whole_units = false;
  }
  const int64_t total = w.count();
  return with_unit(unit, whole_units, [&]<int W, class T>() {
    auto* out = reinterpret_cast<T*>(to);
    return each_part(w, [&](const geometry<1>& g, const int64_t(&o)[1]) {
      return launch<fill_units<kThreads, W, T>>(
          args, shape_for(g.count), share_of(c, g.count, total), g, value, dtype, out + o[0]);
    });
  });
}

// Every element of `to` becomes `value`, converted.
inline mill_status fill_tensor(const mill_kernel_args* args, const mill_kernel_tensor& to,
                               double value) {
  if (to.numel == 0) return MILL_OK;
  const walk<1> w(to, {&to});
  return fill_walk(args, w, static_cast<char*>(to.data), to.dtype, value, cost{bytes_of(&to)});
}
