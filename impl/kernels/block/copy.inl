// Copies and fills, which see bytes and no values. After elementwise.inl and convert.inl.

// An element of 16 bytes that need not be aligned to more than 8.
struct bytes16 {
  uint64_t low;
  uint64_t high;
};

// Units of W elements of T, which need not be the tensor's.
template <int Threads, int W, class T>
MILL_KERNEL(Threads, 2)
copy_units(Flat t, MILL_PARAM(geometry<2>) g, T* out, const T* in) {
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size()) {
    const auto o = place(g, static_cast<uint32_t>(i));
    write(out + o.at[0], read<W>(in + o.at[1]));
  }
}

inline constexpr int kTile = 32;

template <class T>
struct transpose_tile {
  // One more, so that a column's elements lie in different banks.
  T at[kTile][kTile + 1];
};

// Rows of the output become columns of the input, through shared memory: both sides are then
// accessed along the axis on which they are contiguous. g walks tiles; its operands are the offset
// in the output, the offset in the input, and the tile's first position along the output's and the
// input's contiguous axis.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
copy_transposed(Block t, MILL_PARAM(geometry<4>) g, int64_t out_run, int64_t in_run,
                int64_t out_step, int64_t in_step, T* out, const T* in) {
  using Tile = transpose_tile<T>;
  MILL_SHARED(t, Tile, s);
  constexpr int kRows = Threads / kTile;
  const int x = t.tid() % kTile;
  const int y = t.tid() / kTile;
  for (int64_t tile = t.bid(); tile < g.count; tile += t.grid_dim()) {
    const auto o = place(g, static_cast<uint32_t>(tile));
    const int64_t i0 = o.at[2];
    const int64_t j0 = o.at[3];
    for (int i = y; i < kTile; i += kRows) {
      if (i0 + i < out_run && j0 + x < in_run) s.at[i][x] = in[o.at[1] + i * in_step + x];
    }
    t.barrier();
    for (int j = y; j < kTile; j += kRows) {
      if (j0 + j < in_run && i0 + x < out_run) out[o.at[0] + j * out_step + x] = s.at[x][j];
    }
    t.barrier();
  }
}

// ---- fill ---------------------------------------------------------------------------------------

// 16 bytes of equal elements of S.
template <class S>
MILL_DEVICE bytes16 repeated(const S& element) {
  if constexpr (sizeof(S) == 16) {
    return bits_as<bytes16>(element);
  } else {
    uint64_t word = 0;
    if constexpr (sizeof(S) == 1) word = bits_as<uint8_t>(element) * uint64_t{0x0101010101010101};
    if constexpr (sizeof(S) == 2) word = bits_as<uint16_t>(element) * uint64_t{0x0001000100010001};
    if constexpr (sizeof(S) == 4) word = bits_as<uint32_t>(element) * uint64_t{0x0000000100000001};
    if constexpr (sizeof(S) == 8) word = bits_as<uint64_t>(element);
    return {word, word};
  }
}

// Units of W elements of T, which are whole elements of dtype: each of those becomes value.
template <int Threads, int W, class T>
MILL_KERNEL(Threads, 2)
fill_units(Flat t, MILL_PARAM(geometry<1>) g, double value, int32_t dtype, T* out) {
  bytes16 pattern = {};
  with_storage(dtype, [&]<class S>() { pattern = repeated(storage_of<S>(value)); });
  lanes<T, W> unit;
  if constexpr (sizeof(T) == 16) {
    unit[0] = pattern;
  } else {
    unit[0] = static_cast<T>(pattern.low);
    if constexpr (W == 2) unit[1] = static_cast<T>(pattern.high);
  }
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size())
    write(out + place(g, static_cast<uint32_t>(i)).at[0], unit);
}
