// Triangles of matrices, and indices as rows of ones and zeros. After convert.inl and ids.inl.

// T: anything of the elements' size. A row keeps the columns up to its own number plus diagonal,
// or from there on.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
keep_triangle(Flat t, int64_t n, int64_t rows, int64_t columns, int64_t diagonal, bool lower,
              const T* x, T* out) {
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const int64_t line = i / columns;
    const int64_t over = i - line * columns - line % rows - diagonal;
    const bool kept = lower ? over <= 0 : over >= 0;
    out[i] = kept ? x[i] : T{};
  }
}

// out [outer, depth, inner], index [outer, inner].
template <int Threads>
MILL_KERNEL(Threads, 2)
put_ones(Flat t, int64_t n, int64_t depth, int64_t inner, double on, double off, const void* index,
         int dtype, int out_dtype, void* out) {
  for (int64_t i = t.global_id(); i < n; i += t.global_size()) {
    const int64_t row = i / inner;
    const int64_t outer = row / depth;
    const bool here = id_at(index, dtype, outer * inner + (i - row * inner)) == row - outer * depth;
    const double value = here ? on : off;
    with_storage(out_dtype, [&]<class S>() { static_cast<S*>(out)[i] = storage_of<S>(value); });
  }
}
