// Matrix products in scalar arithmetic: out[i, j] = sum over k of a[i, k] b[k, j], plus a bias, for
// any strides. Where few blocks would each walk a long k, k is cut into parts whose sums meet in
// the workspace, added in order by a second kernel: the order of additions depends on shapes alone.

// Strides of one batch axis, in elements.
struct MatmulAxis {
  int64_t size, a, b, out;
};

struct MatmulGeometry {
  int64_t m, n, k;
  int64_t a_row, a_col, b_row, b_col, out_row, out_col, bias_row, bias_col;
  int64_t batch;
  int64_t splits;  // parts of k; 1: the kernel finishes, more: it leaves sums in the workspace
  int64_t depth;   // k of one part, a multiple of every tile's depth
  int64_t row_tiles, col_tiles;
  int32_t rank;  // of the batch
  // Which of its two axes lanes follow in a and in b, so that they read neighbours.
  bool a_along_k, b_along_k;
  bool a_wide, b_wide;  // that axis is contiguous and 16-byte accesses are aligned
  bool out_wide;        // rows of out are contiguous and pairs of its elements aligned
  bool add;
  MatmulAxis axes[MILL_MAX_RANK];  // innermost first
};

// One part of k of one product of the batch.
struct MatmulPart {
  int64_t a, b, out;  // offsets of the product's first elements
  int64_t sums;       // offset in the workspace
  int64_t first, last;
};

MILL_DEVICE MatmulPart matmul_part(const MatmulGeometry& g, int64_t index) {
  // 64-bit divisions are what short products spend most of their time on.
  const int64_t product = g.splits > 1 ? index / g.splits : index;
  const int64_t split = index - product * g.splits;
  int64_t batch = product;
  MatmulPart part;
  part.sums = (split * g.batch + batch) * g.m * g.n;
  part.first = split * g.depth;
  part.last = part.first + g.depth < g.k ? part.first + g.depth : g.k;
  part.a = part.first * g.a_col;
  part.b = part.first * g.b_row;
  part.out = 0;
  for (int i = 0; i < g.rank; ++i) {
    const int64_t rest = batch / g.axes[i].size;
    const int64_t at = batch - rest * g.axes[i].size;
    batch = rest;
    part.a += at * g.axes[i].a;
    part.b += at * g.axes[i].b;
    part.out += at * g.axes[i].out;
  }
  return part;
}

template <class T>
MILL_DEVICE void matmul_put(const MatmulGeometry& g, const MatmulPart& part, int64_t i, int64_t j,
                            acc_t<T> sum, const T* bias, T* out, acc_t<T>* sums) {
  if (g.splits > 1) {
    sums[part.sums + i * g.n + j] = sum;
    return;
  }
  if (bias != nullptr) sum += up(bias[i * g.bias_row + j * g.bias_col]);
  T* at = out + part.out + i * g.out_row + j * g.out_col;
  *at = down<T>(g.add ? up(*at) + sum : sum);
}

// Neighbouring blocks take tiles of a band of eight rows, so that what they read of a and b is
// still in the second-level cache.
MILL_DEVICE void matmul_tile_at(const MatmulGeometry& g, int64_t index, int64_t* row,
                                int64_t* col) {
  constexpr int64_t kBand = 8;
  const int64_t band = index / (kBand * g.col_tiles);
  const int64_t first = band * kBand;
  const int64_t height = g.row_tiles - first < kBand ? g.row_tiles - first : kBand;
  const int64_t inside = index - first * g.col_tiles;
  *row = first + inside % height;
  *col = inside / height;
}

// How much of `left` a tile of `size` holds.
MILL_DEVICE int matmul_within(int64_t left, int size) {
  return left < size ? static_cast<int>(left) : size;
}

// ---- tiles --------------------------------------------------------------------------------------

// One thread's share of a tile of Rows by Depth on its way from global to shared memory.
template <class T, int Threads, int Rows, int Depth>
struct MatmulStage {
  static constexpr int kEach = Rows * Depth / Threads;
  static constexpr int kFit = 16 / static_cast<int>(sizeof(T));
  static constexpr int kWide = kFit < kEach ? kFit : kEach;
  static_assert(kEach * Threads == Rows * Depth && kEach % kWide == 0);

  acc_t<T> v[kEach];

  MILL_DEVICE static void place(int index, bool along_k, int* row, int* k) {
    if (along_k) {
      *k = index % (Depth / kWide) * kWide;
      *row = index / (Depth / kWide);
    } else {
      *row = index % (Rows / kWide) * kWide;
      *k = index / (Rows / kWide);
    }
  }
  // rows, depth: how much of the tile the matrix fills. The rest counts as 0.
  MILL_DEVICE void fetch(int tid, const T* from, int64_t row_stride, int64_t k_stride, int rows,
                         int depth, bool along_k, bool wide) {
    const int64_t step = along_k ? k_stride : row_stride;
    MILL_UNROLL
    for (int q = 0; q < kEach / kWide; ++q) {
      int row, k;
      place(q * Threads + tid, along_k, &row, &k);
      const bool inside = along_k ? row < rows : k < depth;
      const int left = inside ? (along_k ? depth - k : rows - row) : 0;
      const T* p = from + row * row_stride + k * k_stride;
      if (wide && left >= kWide) {
        const vec<T, kWide> x = load<kWide>(p);
        MILL_UNROLL
        for (int e = 0; e < kWide; ++e) v[q * kWide + e] = up(x[e]);
      } else {
        MILL_UNROLL
        for (int e = 0; e < kWide; ++e) v[q * kWide + e] = e < left ? up(p[e * step]) : 0;
      }
    }
  }
  template <int Pitch>
  MILL_DEVICE void put(int tid, acc_t<T> (&tile)[Depth][Pitch], bool along_k) const {
    MILL_UNROLL
    for (int q = 0; q < kEach / kWide; ++q) {
      int row, k;
      place(q * Threads + tid, along_k, &row, &k);
      MILL_UNROLL
      for (int e = 0; e < kWide; ++e) {
        tile[along_k ? k + e : k][along_k ? row : row + e] = v[q * kWide + e];
      }
    }
  }
};

// TileRows by TileCols of the result per block, Each by EachCols per thread.
template <class T, int TileRows, int TileCols, int TileDepth, int Each, int EachCols>
struct MatmulTile {
  using Acc = acc_t<T>;
  static constexpr int kRows = TileRows, kCols = TileCols, kDepth = TileDepth;
  static constexpr int kEachRows = Each, kEachCols = EachCols;
  static constexpr int kThreads = (kRows / kEachRows) * (kCols / kEachCols);
  static constexpr int kVec = 16 / static_cast<int>(sizeof(Acc));

  // One vector more per line than needed moves the columns of a tile to different banks.
  struct Shared {
    Acc a[2][kDepth][kRows + kVec];
    Acc b[2][kDepth][kCols + kVec];
  };
  // A thread's rows (columns) come in groups of kVec, kRows / (kEachRows / kVec) apart:
  // neighbouring threads then read neighbouring vectors.
  MILL_DEVICE static int row_of(int ty, int i) {
    return i / kVec * (kRows / (kEachRows / kVec)) + ty * kVec + i % kVec;
  }
  MILL_DEVICE static int col_of(int tx, int j) {
    return j / kVec * (kCols / (kEachCols / kVec)) + tx * kVec + j % kVec;
  }
};

template <class Tile, class T, int Threads>
MILL_KERNEL(Threads, Threads < 256 ? 2 : 1)
matmul_tiled(Block t, MILL_PARAM(MatmulGeometry) g, const T* a, const T* b, const T* bias, T* out,
             acc_t<T>* sums) {
  using Shared = typename Tile::Shared;
  using Acc = acc_t<T>;
  constexpr int kRows = Tile::kRows, kCols = Tile::kCols, kDepth = Tile::kDepth;
  constexpr int kEachRows = Tile::kEachRows, kEachCols = Tile::kEachCols, kVec = Tile::kVec;
  MILL_SHARED(t, Shared, s);
  const int tid = t.tid();
  const int tx = tid % (kCols / kEachCols);
  const int ty = tid / (kCols / kEachCols);
  const int64_t tiles = g.row_tiles * g.col_tiles;
  const int64_t items = tiles * g.splits * g.batch;
  for (int64_t item = t.bid(); item < items; item += t.grid_dim()) {
    const MatmulPart part = matmul_part(g, item / tiles);
    int64_t row, col;
    matmul_tile_at(g, item % tiles, &row, &col);
    row *= kRows;
    col *= kCols;
    const T* a_at = a + part.a + row * g.a_row;
    const T* b_at = b + part.b + col * g.b_col;
    int64_t left = part.last - part.first;
    const int64_t steps = (left + kDepth - 1) / kDepth;
    const int rows = matmul_within(g.m - row, kRows);
    const int cols = matmul_within(g.n - col, kCols);

    Acc acc[kEachRows][kEachCols];
    MILL_UNROLL
    for (int i = 0; i < kEachRows; ++i) {
      MILL_UNROLL
      for (int j = 0; j < kEachCols; ++j) acc[i][j] = 0;
    }
    MatmulStage<T, Threads, kRows, kDepth> a_stage;
    MatmulStage<T, Threads, kCols, kDepth> b_stage;
    a_stage.fetch(tid, a_at, g.a_row, g.a_col, rows, matmul_within(left, kDepth), g.a_along_k,
                  g.a_wide);
    b_stage.fetch(tid, b_at, g.b_col, g.b_row, cols, matmul_within(left, kDepth), g.b_along_k,
                  g.b_wide);
    a_stage.put(tid, s.a[0], g.a_along_k);
    b_stage.put(tid, s.b[0], g.b_along_k);
    t.barrier();
    for (int64_t step = 0; step < steps; ++step) {
      const int now = static_cast<int>(step & 1);
      // The next tile travels while this one is multiplied; it goes to the half that everybody has
      // left, so one barrier per tile is enough.
      const bool more = step + 1 < steps;
      if (more) {
        a_at += kDepth * g.a_col;
        b_at += kDepth * g.b_row;
        left -= kDepth;
        a_stage.fetch(tid, a_at, g.a_row, g.a_col, rows, matmul_within(left, kDepth), g.a_along_k,
                      g.a_wide);
        b_stage.fetch(tid, b_at, g.b_col, g.b_row, cols, matmul_within(left, kDepth), g.b_along_k,
                      g.b_wide);
      }
      // Compilers unroll these loops of constant length by themselves; told to, the host's no
      // longer sees the vectors in them.
      for (int k = 0; k < kDepth; ++k) {
        Acc x[kEachRows];
        Acc y[kEachCols];
        for (int i = 0; i < kEachRows; i += kVec) {
          const vec<Acc, kVec> from = load<kVec>(&s.a[now][k][Tile::row_of(ty, i)]);
          for (int e = 0; e < kVec; ++e) x[i + e] = from[e];
        }
        for (int j = 0; j < kEachCols; j += kVec) {
          const vec<Acc, kVec> from = load<kVec>(&s.b[now][k][Tile::col_of(tx, j)]);
          for (int e = 0; e < kVec; ++e) y[j + e] = from[e];
        }
        for (int i = 0; i < kEachRows; ++i) {
          for (int j = 0; j < kEachCols; ++j) acc[i][j] = fma_(x[i], y[j], acc[i][j]);
        }
      }
      if (more) {
        a_stage.put(tid, s.a[now ^ 1], g.a_along_k);
        b_stage.put(tid, s.b[now ^ 1], g.b_along_k);
      }
      t.barrier();
    }
    MILL_UNROLL
    for (int i = 0; i < kEachRows; ++i) {
      const int64_t at_row = row + Tile::row_of(ty, i);
      MILL_UNROLL
      for (int j = 0; j < kEachCols; ++j) {
        const int64_t at_col = col + Tile::col_of(tx, j);
        if (at_row < g.m && at_col < g.n) {
          matmul_put(g, part, at_row, at_col, acc[i][j], bias, out, sums);
        }
      }
    }
  }
}

// ---- few rows, little work ----------------------------------------------------------------------

// A thread for each W neighbouring elements of a row. W > 1: b_col is 1 and rows of b are aligned.
template <int Threads, int W, class T>
MILL_KERNEL(Threads, 2)
matmul_direct(Flat t, MILL_PARAM(MatmulGeometry) g, const T* a, const T* b, const T* bias, T* out,
              acc_t<T>* sums) {
  using Acc = acc_t<T>;
  const int64_t groups = (g.n + W - 1) / W;
  const int64_t items = groups * g.m * g.splits * g.batch;
  for (int64_t item = t.global_id(); item < items; item += t.global_size()) {
    const int64_t line = item / groups;
    const int64_t product = g.m > 1 ? line / g.m : line;
    const int64_t col = (item - line * groups) * W;
    const int64_t row = line - product * g.m;
    const MatmulPart part = matmul_part(g, product);
    const int64_t depth = part.last - part.first;
    const T* x = a + part.a + row * g.a_row;
    const T* y = b + part.b + col * g.b_col;
    if (W > 1 && col + W <= g.n) {
      Acc acc[W];
      MILL_UNROLL
      for (int e = 0; e < W; ++e) acc[e] = 0;
      for (int64_t k = 0; k < depth; ++k) {
        const Acc factor = up(x[k * g.a_col]);
        const vec<T, W> from = load<W>(y + k * g.b_row);
        MILL_UNROLL
        for (int e = 0; e < W; ++e) acc[e] = fma_(factor, up(from[e]), acc[e]);
      }
      MILL_UNROLL
      for (int e = 0; e < W; ++e) matmul_put(g, part, row, col + e, acc[e], bias, out, sums);
    } else {
      const int64_t last = col + W < g.n ? col + W : g.n;
      for (int64_t j = col; j < last; ++j, y += g.b_col) {
        Acc acc = 0;
        for (int64_t k = 0; k < depth; ++k) {
          acc = fma_(up(x[k * g.a_col]), up(y[k * g.b_row]), acc);
        }
        matmul_put(g, part, row, j, acc, bias, out, sums);
      }
    }
  }
}

// m = 1, a warp for C neighbouring elements: lanes share k. W > 1: a and b are contiguous and
// aligned along k.
template <int Threads, int C, int W, class T>
MILL_KERNEL(Threads, 2)
matmul_dot(Block t, MILL_PARAM(MatmulGeometry) g, const T* a, const T* b, const T* bias, T* out,
           acc_t<T>* sums) {
  using Acc = acc_t<T>;
  constexpr int kWarps = Threads / kWarp;
  const int64_t groups = (g.n + C - 1) / C;
  const int64_t items = groups * g.splits * g.batch;
  for (int64_t item = t.bid() * kWarps + t.warp(); item < items; item += t.grid_dim() * kWarps) {
    const int64_t product = item / groups;
    const int64_t col = (item - product * groups) * C;
    const MatmulPart part = matmul_part(g, product);
    const int64_t depth = part.last - part.first;
    const T* x = a + part.a;
    const T* y[C];
    Acc acc[C][W];
    MILL_UNROLL
    for (int c = 0; c < C; ++c) {
      // Past the last column the last one again, not to be stored.
      y[c] = b + part.b + (col + c < g.n ? col + c : g.n - 1) * g.b_col;
      MILL_UNROLL
      for (int e = 0; e < W; ++e) acc[c][e] = 0;
    }
    int64_t k = t.lane() * W;
    for (; k + W <= depth; k += kWarp * W) {
      if constexpr (W > 1) {
        const vec<T, W> p = load<W>(x + k);
        MILL_UNROLL
        for (int c = 0; c < C; ++c) {
          const vec<T, W> q = load<W>(y[c] + k);
          MILL_UNROLL
          for (int e = 0; e < W; ++e) acc[c][e] = fma_(up(p[e]), up(q[e]), acc[c][e]);
        }
      } else {
        const Acc factor = up(x[k * g.a_col]);
        MILL_UNROLL
        for (int c = 0; c < C; ++c) acc[c][0] = fma_(factor, up(y[c][k * g.b_row]), acc[c][0]);
      }
    }
    // At most one lane stands before the end with fewer than W elements left.
    for (int e = 0; k + e < depth; ++e) {
      const Acc factor = up(x[(k + e) * g.a_col]);
      MILL_UNROLL
      for (int c = 0; c < C; ++c) {
        acc[c][0] = fma_(factor, up(y[c][(k + e) * g.b_row]), acc[c][0]);
      }
    }
    MILL_UNROLL
    for (int c = 0; c < C; ++c) {
      Acc sum = acc[c][0];
      MILL_UNROLL
      for (int e = 1; e < W; ++e) sum += acc[c][e];
      sum = t.warp_reduce(sum, [](Acc p, Acc q) { return p + q; });
      if (t.lane() == 0 && col + c < g.n) matmul_put(g, part, 0, col + c, sum, bias, out, sums);
    }
  }
}

// Adds the parts of k in order; no parts at all, k = 0, leave 0 and the bias.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
matmul_finish(Flat t, MILL_PARAM(MatmulGeometry) g, int64_t parts, const acc_t<T>* sums,
              const T* bias, T* out) {
  const int64_t items = g.batch * g.m * g.n;
  for (int64_t item = t.global_id(); item < items; item += t.global_size()) {
    acc_t<T> sum = 0;
    for (int64_t i = 0; i < parts; ++i) sum += sums[i * items + item];
    const int64_t line = item / g.n;
    const int64_t product = g.m > 1 ? line / g.m : line;
    matmul_put<T>(g, matmul_part(g, product), line - product * g.m, item - line * g.n, sum, bias,
                  out, nullptr);
  }
}
