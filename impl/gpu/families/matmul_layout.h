// How matmul and linear become a batch of two-dimensional products. matmul.cu includes
// kernels/block/matmul.inl first, then this, both inside its anonymous namespace: it has no guard
// and includes nothing.

struct MatmulLayout {
  MatmulGeometry g = {};
  bool swapped = false;  // a and b, rows and columns have changed places
};

// A leading axis becomes part of the rows where its elements continue them; else it stays a batch
// axis.
inline void add_leading_axis(MatmulGeometry* g, const MatmulAxis& axis) {
  if (axis.size == 1) return;
  if (axis.b == 0 && g->rank == 0) {
    if (g->m == 1) {
      g->m = axis.size;
      g->a_row = axis.a;
      g->out_row = axis.out;
      return;
    }
    if (axis.a == g->a_row * g->m && axis.out == g->out_row * g->m) {
      g->m *= axis.size;
      return;
    }
  }
  g->axes[g->rank++] = axis;
  g->batch *= axis.size;
}

inline int64_t batch_stride(const mill_kernel_tensor& t, int32_t axis) {
  return axis < 0 || t.dims[axis] == 1 ? 0 : t.strides[axis];
}

// A vector is a row on the left and a column on the right; the axis it lacks is missing in out too.
inline MatmulLayout layout_of_matmul(const mill_kernel_args* args) {
  const mill_kernel_tensor& a = *args->in[0];
  const mill_kernel_tensor& b = *args->in[1];
  const mill_kernel_tensor& out = *args->out[0];
  MatmulLayout layout;
  MatmulGeometry& g = layout.g;
  g.m = g.n = g.batch = 1;
  const int32_t a_axes = a.rank > 1 ? 2 : 1;
  const int32_t b_axes = b.rank > 1 ? 2 : 1;
  int32_t axis = out.rank - 1;
  g.k = a.dims[a.rank - 1];
  g.a_col = a.strides[a.rank - 1];
  g.b_row = b.strides[b.rank - b_axes];
  if (b_axes == 2) {
    g.n = b.dims[b.rank - 1];
    g.b_col = b.strides[b.rank - 1];
    g.out_col = out.strides[axis--];
  }
  if (a_axes == 2) {
    g.m = a.dims[a.rank - 2];
    g.a_row = a.strides[a.rank - 2];
    g.out_row = out.strides[axis--];
  }
  const int32_t a_shift = a.rank - a_axes - 1 - axis;
  const int32_t b_shift = b.rank - b_axes - 1 - axis;
  for (; axis >= 0; --axis) {
    add_leading_axis(&g, {out.dims[axis], batch_stride(a, axis + a_shift),
                          batch_stride(b, axis + b_shift), out.strides[axis]});
  }
  return layout;
}

// x [..., in], weight [out, in], bias [out].
inline MatmulLayout layout_of_linear(const mill_kernel_args* args) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& weight = *args->in[1];
  const mill_kernel_tensor* bias = input(args, 2);
  const mill_kernel_tensor& out = *args->out[0];
  MatmulLayout layout;
  MatmulGeometry& g = layout.g;
  g.m = g.batch = 1;
  g.k = weight.dims[1];
  g.n = weight.dims[0];
  g.a_col = x.strides[x.rank - 1];
  g.b_row = weight.strides[1];
  g.b_col = weight.strides[0];
  g.out_col = out.strides[out.rank - 1];
  g.bias_col = bias != nullptr ? bias->strides[0] : 0;
  for (int32_t axis = out.rank - 2; axis >= 0; --axis) {
    add_leading_axis(&g, {out.dims[axis], x.strides[axis], 0, out.strides[axis]});
  }
  return layout;
}

template <class V>
void exchange(V* a, V* b) {
  const V old = *a;
  *a = *b;
  *b = old;
}

inline void swap_sides(MatmulLayout* layout) {
  MatmulGeometry& g = layout->g;
  exchange(&g.m, &g.n);
  exchange(&g.a_row, &g.b_col);
  exchange(&g.a_col, &g.b_row);
  exchange(&g.out_row, &g.out_col);
  exchange(&g.bias_row, &g.bias_col);
  for (int32_t i = 0; i < g.rank; ++i) exchange(&g.axes[i].a, &g.axes[i].b);
  layout->swapped = !layout->swapped;
}

// A column becomes a row and a column-major result a row-major one: kernels then only know rows.
// Strides of axes of one element say nothing; those set here let the fast paths apply.
inline void settle(MatmulLayout* layout) {
  MatmulGeometry& g = layout->g;
  if (g.k <= 1) g.a_col = g.b_row = 1;
  const bool column = g.n == 1 && g.m > 1;
  const bool column_major = g.m > 1 && g.n > 1 && g.out_col != 1 && g.out_row == 1;
  if (column || column_major) swap_sides(layout);
  if (g.m == 1) g.a_row = g.out_row = g.bias_row = 0;
  if (g.n == 1) {
    g.b_col = g.bias_col = 0;
    g.out_col = 1;
  }
  // Lanes follow the axis along which neighbours are nearer.
  g.a_along_k = g.a_col == 1 || (g.a_row != 1 && g.a_col <= g.a_row);
  g.b_along_k = g.b_row == 1 ? g.b_col != 1 || g.k > 1 : g.b_col != 1 && g.b_row <= g.b_col;
}

// Vectors of `each` elements can be read along the contiguous one of two axes.
inline bool rows_aligned(const void* data, size_t bytes, int64_t contiguous, int64_t other,
                         int64_t each) {
  return contiguous == 1 && other % each == 0 && aligned(data, bytes);
}

// Fills in what depends on addresses.
template <class T>
void find_wide(MatmulGeometry* g, const T* a, const T* b, const T* out) {
  constexpr int64_t kFit = static_cast<int64_t>(16 / sizeof(T));
  bool a_axes = true, b_axes = true, out_axes = true;
  for (int32_t i = 0; i < g->rank; ++i) {
    a_axes = a_axes && g->axes[i].a % kFit == 0;
    b_axes = b_axes && g->axes[i].b % kFit == 0;
    out_axes = out_axes && g->axes[i].out % 2 == 0;
  }
  g->a_wide = a_axes && rows_aligned(a, 16, g->a_along_k ? g->a_col : g->a_row,
                                     g->a_along_k ? g->a_row : g->a_col, kFit);
  g->b_wide = b_axes && rows_aligned(b, 16, g->b_along_k ? g->b_row : g->b_col,
                                     g->b_along_k ? g->b_col : g->b_row, kFit);
  g->out_wide =
      out_axes && g->n % 2 == 0 && rows_aligned(out, 2 * sizeof(T), g->out_col, g->out_row, 2);
}
