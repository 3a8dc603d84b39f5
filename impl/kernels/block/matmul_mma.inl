// Matrix products of bf16 and f16 on the tensor cores, sums in f32. After matmul.inl.
//
// Tiles lie in shared memory as they lie in global memory, along k or across it, and ldmatrix
// transposes those that lie across. Chunks of 16 bytes are permuted within a line so that the eight
// lines of a matrix meet eight different groups of banks.

inline constexpr int kMmaDepth = 32;
inline constexpr int kMmaStages = 3;
inline constexpr int kMmaChunk = 8;  // elements of 16 bytes

// A tile is a number of lines: rows along k, or k along rows.
template <int Rows, bool AlongK>
MILL_DEVICE int mma_place(int row, int k) {
  constexpr int kLine = AlongK ? kMmaDepth : Rows;
  const int line = AlongK ? row : k;
  const int along = AlongK ? k : row;
  // Where two lines of 64 bytes share the 32 banks, pairs of lines count.
  const int turn = kLine == 32 ? (line >> 1) & 3 : line & 7;
  return line * kLine + (along / kMmaChunk ^ turn) * kMmaChunk + along % kMmaChunk;
}

// Starts the journey of one tile of Rows by kMmaDepth, whose lines are aligned to 16 bytes. rows,
// depth: how much of the tile the matrix fills; the rest counts as 0.
template <int Threads, int Rows, bool AlongK, class T, class Copies>
MILL_DEVICE void mma_fetch(int tid, Copies& copies, T* tile, const T* from, int64_t row_stride,
                           int64_t k_stride, int rows, int depth) {
  constexpr int kLine = (AlongK ? kMmaDepth : Rows) / kMmaChunk;
  MILL_UNROLL
  for (int q = 0; q < Rows * kMmaDepth / kMmaChunk / Threads; ++q) {
    const int index = q * Threads + tid;
    const int along = index % kLine * kMmaChunk;
    const int across = index / kLine;
    const int row = AlongK ? across : along;
    const int k = AlongK ? along : across;
    const int left = AlongK ? depth - k : rows - row;
    const bool inside = left > 0 && (AlongK ? row < rows : k < depth);
    const int count = !inside ? 0 : left < kMmaChunk ? left : kMmaChunk;
    const T* p = inside ? from + row * row_stride + k * k_stride : from;
    copies.copy(tile + mma_place<Rows, AlongK>(row, k), p, count);
  }
}

// The same for any strides: the elements go through registers, the tile lies along k. Lanes follow
// k or rows, whichever is nearer in memory.
template <int Threads, int Rows, class T>
MILL_DEVICE void mma_gather(int tid, T* tile, const T* from, int64_t row_stride, int64_t k_stride,
                            int rows, int depth, bool along_k) {
  constexpr int kLine = kMmaDepth / kMmaChunk;
  for (int q = 0; q < Rows * kLine / Threads; ++q) {
    const int index = q * Threads + tid;
    const int row = along_k ? index / kLine : index % Rows;
    const int k = (along_k ? index % kLine : index / Rows) * kMmaChunk;
    const int left = row < rows ? depth - k : 0;
    const T* p = from + row * row_stride + k * k_stride;
    vec<T, kMmaChunk> v;
    MILL_UNROLL
    for (int e = 0; e < kMmaChunk; ++e) v[e] = e < left ? p[e * k_stride] : T{0};
    store(tile + mma_place<Rows, true>(row, k), v);
  }
}

// TileRows by TileCols of the result per block, WarpRows by WarpCols per warp.
template <class T, int TileRows, int TileCols, int Rows, int Cols>
struct MmaTile {
  static constexpr int kRows = TileRows, kCols = TileCols;
  static constexpr int kWarpRows = Rows, kWarpCols = Cols;
  static constexpr int kThreads = (kRows / kWarpRows) * (kCols / kWarpCols) * kWarp;
  static constexpr int kCopies = kMmaStages * (kRows + kCols) * kMmaDepth / kMmaChunk / kThreads;
  static_assert(kWarpRows % 16 == 0 && kWarpCols % 16 == 0);

  struct alignas(128) Shared {
    T a[kMmaStages][kRows * kMmaDepth];
    T b[kMmaStages][kCols * kMmaDepth];
  };
};

template <class T>
MILL_DEVICE void mma_put_pair(const MatmulGeometry& g, const MatmulPart& part, int64_t i, int64_t j,
                              float x, float y, const T* bias, T* out, float* sums) {
  if (i >= g.m || j >= g.n) return;
  if (g.splits > 1 || !g.out_wide) {
    matmul_put(g, part, i, j, x, bias, out, sums);
    if (j + 1 < g.n) matmul_put(g, part, i, j + 1, y, bias, out, sums);
    return;
  }
  if (bias != nullptr) {
    x += up(bias[i * g.bias_row + j * g.bias_col]);
    y += up(bias[i * g.bias_row + (j + 1) * g.bias_col]);
  }
  T* at = out + part.out + i * g.out_row + j;
  if (g.add) {
    const vec<T, 2> old = load<2>(at);
    x += up(old[0]);
    y += up(old[1]);
  }
  vec<T, 2> pair;
  pair[0] = down<T>(x);
  pair[1] = down<T>(y);
  store(at, pair);
}

// Wide: both operands' lines are aligned and lie as AAlongK and BAlongK say; otherwise any strides,
// and both are true.
template <class Tile, class T, int Threads, bool Wide, bool AAlongK, bool BAlongK>
MILL_KERNEL(Threads, Wide || Threads < 256 ? 2 : 1)
matmul_mma(Block t, MILL_PARAM(MatmulGeometry) g, const T* a, const T* b, const T* bias, T* out,
           float* sums) {
  using Shared = typename Tile::Shared;
  constexpr int kRows = Tile::kRows, kCols = Tile::kCols;
  constexpr int kM = Tile::kWarpRows / 16, kN = Tile::kWarpCols / 8;
  MILL_SHARED(t, Shared, s);
  const int tid = t.tid();
  const int lane = t.lane();
  const int warp_row = t.warp() / (kCols / Tile::kWarpCols) * Tile::kWarpRows;
  const int warp_col = t.warp() % (kCols / Tile::kWarpCols) * Tile::kWarpCols;
  // Which line of which of the four 8x8 matrices this lane names to ldmatrix: 16 rows of a by 16 of
  // k, and 16 of k by 16 columns of b, in the order of the registers of mma.m16n8k16.
  const int a_row = warp_row + (AAlongK ? lane % 16 : lane / 8 % 2 * 8);
  const int a_k = AAlongK ? lane / 16 * 8 : lane % 8 + lane / 16 * 8;
  const int b_col = warp_col + (BAlongK ? lane % 8 + lane / 16 * 8 : lane / 16 * 8);
  const int b_k = BAlongK ? lane / 8 % 2 * 8 : lane % 16;

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
    const int64_t depth = part.last - part.first;
    const int64_t steps = (depth + kMmaDepth - 1) / kMmaDepth;
    const int rows = matmul_within(g.m - row, kRows);
    const int cols = matmul_within(g.n - col, kCols);

    AsyncCopies<T, Tile::kCopies> copies;
    int filled = 0;  // the slot that the next tile goes to
    const auto fetch = [&](int64_t step) {
      if (step < steps) {
        const int64_t at = step * kMmaDepth;
        const int within = matmul_within(depth - at, kMmaDepth);
        const T* a_from = a_at + at * g.a_col;
        const T* b_from = b_at + at * g.b_row;
        if constexpr (Wide) {
          mma_fetch<Threads, kRows, AAlongK>(tid, copies, s.a[filled], a_from, g.a_row, g.a_col,
                                             rows, within);
          mma_fetch<Threads, kCols, BAlongK>(tid, copies, s.b[filled], b_from, g.b_col, g.b_row,
                                             cols, within);
        } else {
          mma_gather<Threads, kRows>(tid, s.a[filled], a_from, g.a_row, g.a_col, rows, within,
                                     g.a_along_k);
          mma_gather<Threads, kCols>(tid, s.b[filled], b_from, g.b_col, g.b_row, cols, within,
                                     g.b_along_k);
        }
      }
      // Empty groups at the end keep the count of those under way the same in every step.
      copies.commit();
      filled = filled + 1 < kMmaStages ? filled + 1 : 0;
    };
    float acc[kM][kN][4];
    MILL_UNROLL
    for (int i = 0; i < kM; ++i) {
      MILL_UNROLL
      for (int j = 0; j < kN; ++j) {
        MILL_UNROLL
        for (int e = 0; e < 4; ++e) acc[i][j][e] = 0;
      }
    }
    for (int step = 0; step + 1 < kMmaStages; ++step) fetch(step);
    int slot = 0;
    for (int64_t step = 0; step < steps; ++step) {
      copies.template wait<kMmaStages - 2>();
      t.barrier();
      // Into the slot of the step before, which every warp has left behind at the barrier.
      fetch(step + kMmaStages - 1);
      const T* a_tile = s.a[slot];
      const T* b_tile = s.b[slot];
      slot = slot + 1 < kMmaStages ? slot + 1 : 0;
      MILL_UNROLL
      for (int k = 0; k < kMmaDepth; k += 16) {
        const T* a_lines[kM];
        const T* b_lines[kN / 2];
        MILL_UNROLL
        for (int i = 0; i < kM; ++i) {
          a_lines[i] = a_tile + mma_place<kRows, AAlongK>(a_row + i * 16, a_k + k);
        }
        MILL_UNROLL
        for (int j = 0; j < kN / 2; ++j) {
          b_lines[j] = b_tile + mma_place<kCols, BAlongK>(b_col + j * 16, b_k + k);
        }
        uint32_t x[kM][4];
        uint32_t pairs[kN / 2][4];
        uint32_t y[kN][2];
        ldmatrix_x4<!AAlongK>(t, x, a_lines);
        ldmatrix_x4<!BAlongK>(t, pairs, b_lines);
        MILL_UNROLL
        for (int j = 0; j < kN; ++j) {
          y[j][0] = pairs[j / 2][j % 2 * 2];
          y[j][1] = pairs[j / 2][j % 2 * 2 + 1];
        }
        mma_m16n8k16<T>(t, acc, x, y);
      }
    }
    // The next item fills slots that slower warps may still read.
    t.barrier();
    MILL_UNROLL
    for (int i = 0; i < kM; ++i) {
      const int64_t at_row = row + warp_row + i * 16 + lane / 4;
      MILL_UNROLL
      for (int j = 0; j < kN; ++j) {
        const int64_t at_col = col + warp_col + j * 8 + lane % 4 * 2;
        mma_put_pair(g, part, at_row, at_col, acc[i][j][0], acc[i][j][1], bias, out, sums);
        mma_put_pair(g, part, at_row + 8, at_col, acc[i][j][2], acc[i][j][3], bias, out, sums);
      }
    }
  }
}
