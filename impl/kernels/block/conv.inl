// Convolutions as products in scalar arithmetic. After matmul.inl. A pass (kernels/conv_shape.h)
// multiplies what the positions of its result meet, gathered into tiles on the way to shared
// memory, by packed weights; the gradient by the weight sums over positions in parts, which a
// second kernel adds in order. Kernels of few channels go to a thread per element instead.
//
// Depth index d of a pass is tap * channels + channel.

struct ConvTile {
  int32_t n[3], step[3], first[3], delta[3], size[3];  // step, delta in elements of `from`
  int64_t from[3], to[3];                              // strides, those of `to` between positions
  int64_t from_batch, from_channel, from_group;
  int64_t to_batch, to_channel, to_group, to_first;
  int64_t w_tap[3], w_channel, w_output, w_group, w_first;
  int64_t batch, groups, cells, depth;  // cells: positions of an image
  int32_t channels, outputs;
  fast_div by_channels, by_taps[2], by_cells, by_n[2];  // [0]: the last axis, [1]: the one before
  int64_t row_tiles, col_tiles;
  int64_t splits, length;  // parts of the positions in the gradient by the weight
  bool to_adjacent;        // channels of `to`
  bool wide;               // aligned vectors of channels of `from`
  bool w_wide;             // rows of packed weights can be read 16 bytes at a time
};

// A position: what it meets with tap 0 and channel 0, and where it lies in `to`.
struct ConvCell {
  int64_t from, to;
  int32_t at[3];
};

MILL_DEVICE void conv_split(const fast_div& by, uint32_t index, uint32_t* rest, int32_t* at) {
  *rest = by.quotient(index);
  *at = static_cast<int32_t>(index - *rest * by.divisor);
}

// Position `index` of image n.
MILL_DEVICE ConvCell conv_cell(const ConvTile& g, int64_t n, uint32_t index) {
  int32_t j[3];
  uint32_t rest, z;
  conv_split(g.by_n[0], index, &rest, &j[2]);
  conv_split(g.by_n[1], rest, &z, &j[1]);
  j[0] = static_cast<int32_t>(z);
  ConvCell cell;
  cell.from = n * g.from_batch;
  cell.to = n * g.to_batch + g.to_first;
  MILL_UNROLL
  for (int i = 0; i < 3; ++i) {
    cell.at[i] = j[i] * g.step[i] + g.first[i];
    cell.from += cell.at[i] * g.from[i];
    cell.to += j[i] * g.to[i];
  }
  return cell;
}

// A tap and channel: how far from tap 0 and channel 0 they lie.
struct ConvDepth {
  int64_t from;
  int32_t at[3];
};

MILL_DEVICE ConvDepth conv_depth(const ConvTile& g, uint32_t d) {
  uint32_t tap, rest, z;
  int32_t channel, t[3];
  conv_split(g.by_channels, d, &tap, &channel);
  conv_split(g.by_taps[0], tap, &rest, &t[2]);
  conv_split(g.by_taps[1], rest, &z, &t[1]);
  t[0] = static_cast<int32_t>(z);
  ConvDepth depth;
  depth.from = channel * g.from_channel;
  MILL_UNROLL
  for (int i = 0; i < 3; ++i) {
    depth.at[i] = t[i] * g.delta[i];
    depth.from += depth.at[i] * g.from[i];
  }
  return depth;
}

// A position that meets nothing.
MILL_DEVICE ConvCell conv_nowhere() {
  ConvCell cell;
  cell.from = cell.to = 0;
  MILL_UNROLL
  for (int i = 0; i < 3; ++i) cell.at[i] = INT32_MIN;
  return cell;
}

MILL_DEVICE bool conv_meets(const ConvTile& g, const ConvCell& cell, const ConvDepth& depth) {
  bool inside = true;
  MILL_UNROLL
  for (int i = 0; i < 3; ++i) {
    // Below 0 it becomes large.
    inside = inside && static_cast<uint32_t>(cell.at[i]) + static_cast<uint32_t>(depth.at[i]) <
                           static_cast<uint32_t>(g.size[i]);
  }
  return inside;
}

template <class T>
MILL_DEVICE acc_t<T> conv_read(const ConvTile& g, const T* from, const ConvCell& cell,
                               const ConvDepth& depth) {
  return conv_meets(g, cell, depth) ? up(from[cell.from + depth.from]) : acc_t<T>{0};
}

// ---- passes -------------------------------------------------------------------------------------

// Weights of a pass as rows of outputs: packed[group][d][output].
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
conv_pack(Flat t, MILL_PARAM(ConvTile) g, const T* w, T* packed) {
  const int64_t items = g.groups * g.depth * g.outputs;
  for (int64_t item = t.global_id(); item < items; item += t.global_size()) {
    const int64_t line = item / g.outputs;
    const int64_t output = item - line * g.outputs;
    const int64_t group = line / g.depth;
    const auto d = static_cast<uint32_t>(line - group * g.depth);
    uint32_t tap, rest, z;
    int32_t channel, x, y;
    conv_split(g.by_channels, d, &tap, &channel);
    conv_split(g.by_taps[0], tap, &rest, &x);
    conv_split(g.by_taps[1], rest, &z, &y);
    packed[item] = w[g.w_first + group * g.w_group + output * g.w_output + channel * g.w_channel +
                     z * g.w_tap[0] + y * g.w_tap[1] + x * g.w_tap[2]];
  }
}

// One thread's share of what a tile of positions meets. AlongC: lanes follow channels, else
// positions.
template <class T, int Threads, int Rows, int Depth, bool AlongC>
struct ConvStage {
  static constexpr int kEach = Rows * Depth / Threads;
  static constexpr int kWide = AlongC ? (sizeof(T) == 8 ? 2 : 4) : 1;
  static_assert(Threads % Rows == 0 && kEach % kWide == 0);

  acc_t<T> v[kEach];

  MILL_DEVICE static void place(int index, int* row, int* k) {
    if constexpr (AlongC) {
      *k = index % (Depth / kWide) * kWide;
      *row = index / (Depth / kWide);
    } else {
      *row = index % Rows;
      *k = index / Rows;
    }
  }
  MILL_DEVICE void fetch(int tid, const ConvTile& g, const T* from, const ConvCell* cells,
                         int64_t first) {
    MILL_UNROLL
    for (int q = 0; q < kEach / kWide; ++q) {
      int row, k;
      place(q * Threads + tid, &row, &k);
      const int64_t d = first + k;
      const ConvCell cell = cells[row];
      if constexpr (AlongC) {
        if (g.wide) {  // channels are a multiple of the vector, and so is the depth
          const ConvDepth depth = conv_depth(g, static_cast<uint32_t>(d));
          if (d < g.depth && conv_meets(g, cell, depth)) {
            const vec<T, kWide> x = load<kWide>(from + cell.from + depth.from);
            MILL_UNROLL
            for (int e = 0; e < kWide; ++e) v[q * kWide + e] = up(x[e]);
          } else {
            MILL_UNROLL
            for (int e = 0; e < kWide; ++e) v[q * kWide + e] = 0;
          }
          continue;
        }
      }
      MILL_UNROLL
      for (int e = 0; e < kWide; ++e) {
        v[q * kWide + e] =
            d + e < g.depth ? conv_read(g, from, cell, conv_depth(g, static_cast<uint32_t>(d + e)))
                            : acc_t<T>{0};
      }
    }
  }
  template <int Pitch>
  MILL_DEVICE void put(int tid, acc_t<T> (&tile)[Depth][Pitch]) const {
    MILL_UNROLL
    for (int q = 0; q < kEach / kWide; ++q) {
      int row, k;
      place(q * Threads + tid, &row, &k);
      MILL_UNROLL
      for (int e = 0; e < kWide; ++e) tile[k + e][row] = v[q * kWide + e];
    }
  }
};

template <class Tile>
struct ConvShared {
  typename Tile::Shared tile;
  ConvCell cells[Tile::kRows];
};

// Adds the product of two tiles of shared memory.
template <class Tile, class A, class B>
MILL_DEVICE void conv_multiply(const A& a, const B& b, int tx, int ty,
                               typename Tile::Acc (&acc)[Tile::kEachRows][Tile::kEachCols]) {
  using Acc = typename Tile::Acc;
  constexpr int kVec = Tile::kVec;
  for (int k = 0; k < Tile::kDepth; ++k) {
    Acc x[Tile::kEachRows];
    Acc y[Tile::kEachCols];
    for (int i = 0; i < Tile::kEachRows; i += kVec) {
      const vec<Acc, kVec> from = load<kVec>(&a[k][Tile::row_of(ty, i)]);
      for (int e = 0; e < kVec; ++e) x[i + e] = from[e];
    }
    for (int j = 0; j < Tile::kEachCols; j += kVec) {
      const vec<Acc, kVec> from = load<kVec>(&b[k][Tile::col_of(tx, j)]);
      for (int e = 0; e < kVec; ++e) y[j + e] = from[e];
    }
    for (int i = 0; i < Tile::kEachRows; ++i) {
      for (int j = 0; j < Tile::kEachCols; ++j) acc[i][j] = fma_(x[i], y[j], acc[i][j]);
    }
  }
}

// A block for each tile of positions by outputs of one group.
template <class Tile, class T, int Threads, bool AlongC>
MILL_KERNEL(Threads, Threads < 256 ? 2 : 1)
conv_tiled(Block t, MILL_PARAM(ConvTile) g, const T* from, const T* packed, const T* bias,
           int64_t bias_step, T* to) {
  using Shared = ConvShared<Tile>;
  using Acc = acc_t<T>;
  constexpr int kRows = Tile::kRows, kCols = Tile::kCols, kDepth = Tile::kDepth;
  constexpr int kTx = kCols / Tile::kEachCols, kTy = kRows / Tile::kEachRows;
  MILL_SHARED(t, Shared, s);
  const int tid = t.tid();
  // Neighbouring lanes write neighbours.
  const int tx = g.to_adjacent ? tid % kTx : tid / kTy;
  const int ty = g.to_adjacent ? tid / kTx : tid % kTy;
  const int64_t rows = g.batch * g.cells;
  const int64_t items = g.groups * g.row_tiles * g.col_tiles;
  const int64_t steps = (g.depth + kDepth - 1) / kDepth;
  for (int64_t item = t.bid(); item < items; item += t.grid_dim()) {
    const int64_t line = item / g.col_tiles;
    const int64_t col = (item - line * g.col_tiles) * kCols;
    const int64_t group = line / g.row_tiles;
    const int64_t row = (line - group * g.row_tiles) * kRows;
    const int cols = matmul_within(g.outputs - col, kCols);
    for (int i = tid; i < kRows; i += Threads) {
      ConvCell cell = conv_nowhere();
      if (row + i < rows) {
        const int64_t n = (row + i) / g.cells;
        cell = conv_cell(g, n, static_cast<uint32_t>(row + i - n * g.cells));
      }
      s.cells[i] = cell;
    }
    t.barrier();
    const T* source = from + group * g.from_group;
    const T* w = packed + group * g.depth * g.outputs + col;
    Acc acc[Tile::kEachRows][Tile::kEachCols];
    MILL_UNROLL
    for (int i = 0; i < Tile::kEachRows; ++i) {
      MILL_UNROLL
      for (int j = 0; j < Tile::kEachCols; ++j) acc[i][j] = 0;
    }
    ConvStage<T, Threads, kRows, kDepth, AlongC> a_stage;
    MatmulStage<T, Threads, kCols, kDepth> b_stage;
    if (steps > 0) {
      a_stage.fetch(tid, g, source, s.cells, 0);
      b_stage.fetch(tid, w, 1, g.outputs, cols, matmul_within(g.depth, kDepth), false, g.w_wide);
      a_stage.put(tid, s.tile.a[0]);
      b_stage.put(tid, s.tile.b[0], false);
    }
    t.barrier();
    for (int64_t step = 0; step < steps; ++step) {
      const int now = static_cast<int>(step & 1);
      const int64_t next = (step + 1) * kDepth;
      // The next tile travels while this one is multiplied.
      if (step + 1 < steps) {
        a_stage.fetch(tid, g, source, s.cells, next);
        b_stage.fetch(tid, w + next * g.outputs, 1, g.outputs, cols,
                      matmul_within(g.depth - next, kDepth), false, g.w_wide);
      }
      conv_multiply<Tile>(s.tile.a[now], s.tile.b[now], tx, ty, acc);
      if (step + 1 < steps) {
        a_stage.put(tid, s.tile.a[now ^ 1]);
        b_stage.put(tid, s.tile.b[now ^ 1], false);
      }
      t.barrier();
    }
    T* target = to + group * g.to_group;
    MILL_UNROLL
    for (int i = 0; i < Tile::kEachRows; ++i) {
      const int at = Tile::row_of(ty, i);
      const int64_t place = s.cells[at].to;
      MILL_UNROLL
      for (int j = 0; j < Tile::kEachCols; ++j) {
        const int64_t output = col + Tile::col_of(tx, j);
        if (row + at < rows && output < g.outputs) {
          Acc sum = acc[i][j];
          if (bias != nullptr) sum += up(bias[(group * g.outputs + output) * bias_step]);
          target[place + output * g.to_channel] = down<T>(sum);
        }
      }
    }
    // The next tile's positions go where slower lanes may still read.
    t.barrier();
  }
}

// ---- the gradient by the weight -----------------------------------------------------------------

template <class Tile>
struct ConvWeightShared {
  typename Tile::Shared tile;
  ConvDepth columns[Tile::kCols];
};

// sums[part][group][output][d] over one part of the positions. AlongC: lanes follow channels, else
// positions.
template <class Tile, class T, int Threads, bool AlongC>
MILL_KERNEL(Threads, Threads < 256 ? 2 : 1)
conv_weight_tiled(Block t, MILL_PARAM(ConvTile) g, const T* x, const T* y, acc_t<T>* sums) {
  using Shared = ConvWeightShared<Tile>;
  using Acc = acc_t<T>;
  constexpr int kRows = Tile::kRows, kCols = Tile::kCols, kDepth = Tile::kDepth;
  constexpr int kTx = kCols / Tile::kEachCols;
  constexpr int kEach = kRows * kDepth / Threads;
  static_assert(kRows == kCols && Threads % kDepth == 0 && Threads % kRows == 0);
  MILL_SHARED(t, Shared, s);
  const int tid = t.tid();
  const int tx = tid % kTx;
  const int ty = tid / kTx;
  const int64_t items = g.groups * g.row_tiles * g.col_tiles * g.splits;
  for (int64_t item = t.bid(); item < items; item += t.grid_dim()) {
    // Neighbouring blocks share positions.
    int64_t line = item / g.col_tiles;
    const int64_t col = (item - line * g.col_tiles) * kCols;
    int64_t rest = line / g.row_tiles;
    const int64_t row = (line - rest * g.row_tiles) * kRows;
    line = rest;
    rest = line / g.groups;
    const int64_t group = line - rest * g.groups;
    const int64_t split = rest;
    const int64_t first = split * g.length;
    const int64_t left = g.batch * g.cells - first;
    const int64_t positions = left < g.length ? left : g.length;
    const int64_t image = first / g.cells;
    const auto inside = static_cast<uint32_t>(first - image * g.cells);
    const int rows = matmul_within(g.outputs - row, kRows);
    const int cols = matmul_within(g.depth - col, kCols);
    for (int i = tid; i < cols; i += Threads) {
      s.columns[i] = conv_depth(g, static_cast<uint32_t>(col + i));
    }
    t.barrier();
    const T* x_at = x + group * g.from_group;
    const T* y_at = y + group * g.to_group + row * g.to_channel;
    Acc acc[Tile::kEachRows][Tile::kEachCols];
    MILL_UNROLL
    for (int i = 0; i < Tile::kEachRows; ++i) {
      MILL_UNROLL
      for (int j = 0; j < Tile::kEachCols; ++j) acc[i][j] = 0;
    }
    Acc a_stage[kEach];
    Acc b_stage[kEach];
    const auto place = [&](int q, int* at, int* k) {
      const int index = q * Threads + tid;
      *at = AlongC ? index % kRows : index / kDepth;
      *k = AlongC ? index / kRows : index % kDepth;
    };
    const auto cell_of = [&](int64_t p) {
      if (p >= positions) return conv_nowhere();
      const uint32_t index = inside + static_cast<uint32_t>(p);
      const uint32_t n = g.by_cells.quotient(index);
      return conv_cell(g, image + n, index - n * g.by_cells.divisor);
    };
    const auto fetch = [&](int64_t from) {
      ConvCell cell;
      MILL_UNROLL
      for (int q = 0; q < kEach; ++q) {
        int at, k;
        place(q, &at, &k);
        // Where lanes follow positions, each has one of its own.
        if (AlongC || q == 0) cell = cell_of(from + k);
        a_stage[q] =
            at < rows && from + k < positions ? up(y_at[cell.to + at * g.to_channel]) : Acc{0};
        b_stage[q] = at < cols ? conv_read(g, x_at, cell, s.columns[at]) : Acc{0};
      }
    };
    const auto put = [&](int half) {
      MILL_UNROLL
      for (int q = 0; q < kEach; ++q) {
        int at, k;
        place(q, &at, &k);
        s.tile.a[half][k][at] = a_stage[q];
        s.tile.b[half][k][at] = b_stage[q];
      }
    };
    const int64_t steps = (positions + kDepth - 1) / kDepth;
    fetch(0);
    put(0);
    t.barrier();
    for (int64_t step = 0; step < steps; ++step) {
      const int now = static_cast<int>(step & 1);
      if (step + 1 < steps) fetch((step + 1) * kDepth);
      conv_multiply<Tile>(s.tile.a[now], s.tile.b[now], tx, ty, acc);
      if (step + 1 < steps) put(now ^ 1);
      t.barrier();
    }
    Acc* target = sums + ((split * g.groups + group) * g.outputs + row) * g.depth + col;
    MILL_UNROLL
    for (int i = 0; i < Tile::kEachRows; ++i) {
      const int at = Tile::row_of(ty, i);
      MILL_UNROLL
      for (int j = 0; j < Tile::kEachCols; ++j) {
        const int to = Tile::col_of(tx, j);
        if (at < rows && to < cols) target[at * g.depth + to] = acc[i][j];
      }
    }
  }
}

template <int Threads, class Acc>
struct ConvSlots {
  Acc slot[Threads / kWarp];
};

// A block for each element of one part, where groups are too small for tiles.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
conv_weight_direct(Block t, MILL_PARAM(ConvTile) g, const T* x, const T* y, acc_t<T>* sums) {
  using Acc = acc_t<T>;
  using Scratch = ConvSlots<Threads, Acc>;
  MILL_SHARED(t, Scratch, s);
  const int64_t each = g.groups * g.outputs * g.depth;
  for (int64_t item = t.bid(); item < each * g.splits; item += t.grid_dim()) {
    const int64_t split = item / each;
    const int64_t element = item - split * each;
    const int64_t channel = element / g.depth;  // of y
    const int64_t group = channel / g.outputs;
    const ConvDepth depth = conv_depth(g, static_cast<uint32_t>(element - channel * g.depth));
    const int64_t first = split * g.length;
    const int64_t left = g.batch * g.cells - first;
    const int64_t positions = left < g.length ? left : g.length;
    const int64_t image = first / g.cells;
    const auto inside = static_cast<uint32_t>(first - image * g.cells);
    const T* x_at = x + group * g.from_group;
    const T* y_at = y + group * g.to_group + (channel - group * g.outputs) * g.to_channel;
    Acc sum = 0;
    for (int64_t p = t.tid(); p < positions; p += Threads) {
      const uint32_t index = inside + static_cast<uint32_t>(p);
      const uint32_t n = g.by_cells.quotient(index);
      const ConvCell cell = conv_cell(g, image + n, index - n * g.by_cells.divisor);
      sum = fma_(conv_read(g, x_at, cell, depth), up(y_at[cell.to]), sum);
    }
    sum = t.warp_reduce(sum, [](Acc a, Acc b) { return a + b; });
    if (t.lane() == 0) s.slot[t.warp()] = sum;
    t.barrier();
    if (t.tid() == 0) {
      Acc all = s.slot[0];
      for (int i = 1; i < Threads / kWarp; ++i) all += s.slot[i];
      sums[item] = all;
    }
    // The next element's sums go where lane 0 may still read.
    t.barrier();
  }
}

// Adds the parts in order. parts 0: the positions are none, the gradient is 0.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
conv_weight_finish(Flat t, MILL_PARAM(ConvTile) g, const acc_t<T>* sums, T* w) {
  const int64_t items = g.groups * g.outputs * g.depth;
  for (int64_t item = t.global_id(); item < items; item += t.global_size()) {
    acc_t<T> sum = 0;
    for (int64_t i = 0; i < g.splits; ++i) sum += sums[i * items + item];
    const int64_t line = item / g.depth;
    const int64_t group = line / g.outputs;
    uint32_t tap, rest, z;
    int32_t channel, px, py;
    conv_split(g.by_channels, static_cast<uint32_t>(item - line * g.depth), &tap, &channel);
    conv_split(g.by_taps[0], tap, &rest, &px);
    conv_split(g.by_taps[1], rest, &z, &py);
    w[g.w_first + group * g.w_group + (line - group * g.outputs) * g.w_output +
      channel * g.w_channel + z * g.w_tap[0] + py * g.w_tap[1] + px * g.w_tap[2]] = down<T>(sum);
  }
}

// ---- few channels -------------------------------------------------------------------------------

// One axis of either direction: tap t of element j meets element (j * step + first + t * delta) /
// divisor, where that division is even.
struct ConvDirectAxis {
  int32_t n, taps, step, first, delta, size;
  fast_div divisor, by_n;
};

struct ConvDirect {
  ConvDirectAxis axis[3];
  int64_t from[3], to[3], w[3];  // strides
  int64_t from_batch, from_channel, to_batch, to_channel, w_channel, w_output, w_group;
  int64_t batch, blocks;  // blocks of an image
  uint32_t count;         // elements of an image
  int32_t channels, all;  // channels of `from` in a group, of `to` in all
  fast_div by_outputs, by_all;
  bool adjacent;  // neighbouring lanes have neighbouring channels, else neighbouring positions
};

// The element that tap t meets, or -1.
MILL_DEVICE int32_t conv_direct_at(const ConvDirectAxis& a, int32_t j, int32_t t) {
  const int32_t place = j * a.step + a.first + t * a.delta;
  if (place < 0) return -1;
  const uint32_t at = a.divisor.quotient(static_cast<uint32_t>(place));
  const bool even = at * a.divisor.divisor == static_cast<uint32_t>(place);
  return even && at < static_cast<uint32_t>(a.size) ? static_cast<int32_t>(at) : -1;
}

// A thread for each element.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
conv_direct(Flat t, MILL_PARAM(ConvDirect) g, const T* from, const T* w, const T* bias,
            int64_t bias_step, T* to) {
  using Acc = acc_t<T>;
  for (int64_t block = t.bid(); block < g.batch * g.blocks; block += t.grid_dim()) {
    const int64_t n = block / g.blocks;
    const int64_t index = (block - n * g.blocks) * Threads + t.tid();
    if (index >= g.count) continue;
    uint32_t rest = static_cast<uint32_t>(index);
    int32_t channel = 0, j[3];
    if (g.adjacent) conv_split(g.by_all, rest, &rest, &channel);
    conv_split(g.axis[2].by_n, rest, &rest, &j[2]);
    conv_split(g.axis[1].by_n, rest, &rest, &j[1]);
    conv_split(g.axis[0].by_n, rest, &rest, &j[0]);
    if (!g.adjacent) channel = static_cast<int32_t>(rest);
    const auto group = static_cast<int32_t>(g.by_outputs.quotient(static_cast<uint32_t>(channel)));
    const int32_t output = channel - group * static_cast<int32_t>(g.by_outputs.divisor);
    const T* source = from + n * g.from_batch + group * g.channels * g.from_channel;
    const T* weight = w + group * g.w_group + output * g.w_output;
    Acc sum = 0;
    for (int32_t z = 0; z < g.axis[0].taps; ++z) {
      const int32_t az = conv_direct_at(g.axis[0], j[0], z);
      if (az < 0) continue;
      for (int32_t y = 0; y < g.axis[1].taps; ++y) {
        const int32_t ay = conv_direct_at(g.axis[1], j[1], y);
        if (ay < 0) continue;
        for (int32_t x = 0; x < g.axis[2].taps; ++x) {
          const int32_t ax = conv_direct_at(g.axis[2], j[2], x);
          if (ax < 0) continue;
          const T* p = source + az * g.from[0] + ay * g.from[1] + ax * g.from[2];
          const T* q = weight + z * g.w[0] + y * g.w[1] + x * g.w[2];
          for (int32_t c = 0; c < g.channels; ++c) {
            sum = fma_(up(p[c * g.from_channel]), up(q[c * g.w_channel]), sum);
          }
        }
      }
    }
    if (bias != nullptr) sum += up(bias[channel * bias_step]);
    to[n * g.to_batch + channel * g.to_channel + j[0] * g.to[0] + j[1] * g.to[1] + j[2] * g.to[2]] =
        down<T>(sum);
  }
}
