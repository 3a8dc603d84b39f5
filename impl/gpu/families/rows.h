// Launch sizes of the kernels of rows. A family includes kernels/block/rows.inl first, then this,
// both inside its anonymous namespace: it has no guard and includes nothing.
//
// What decides about the workspace follows from shapes alone; alignment decides about vectors.

template <class T>
inline constexpr int kVectorOf = static_cast<int>(16 / sizeof(T));

// Longest row that one team keeps in registers, and how much of a longer one a block keeps.
template <class T>
inline constexpr int64_t kTeamRow = 512 * kRowItems<T>;
inline constexpr int kPartThreads = 256;
template <class T>
inline constexpr int64_t kPartRow = kPartThreads* kRowItems<T>;

// Whether rows of n elements at p may be read 16 bytes at a time; absent operands may.
template <class T>
bool rows_aligned(int64_t n, const T* p) {
  return n % kVectorOf<T> == 0 && aligned(p, 16);
}

// call.operator()<Team, W, Items>() for rows of n <= kTeamRow<T> elements.
template <class T, class F>
mill_status with_team(int64_t n, bool vectors, F&& call) {
  constexpr int V = kVectorOf<T>;
  constexpr int E = kRowItems<T>;
  if (n <= 32) return call.template operator()<8, 1, 4>();
  if (vectors) {
    if (n <= 32 * E) return call.template operator()<32, V, E>();
    if (n <= 128 * E) return call.template operator()<128, V, E>();
    return call.template operator()<512, V, E>();
  }
  if (n <= 256) return call.template operator()<32, 1, 8>();
  if (n <= 128 * E) return call.template operator()<128, 1, E>();
  return call.template operator()<512, 1, E>();
}
// call.operator()<W>() for the parts of longer rows.
template <class T, class F>
mill_status with_part(bool vectors, F&& call) {
  if (vectors) return call.template operator()<kVectorOf<T>>();
  return call.template operator()<1>();
}

// A grid of teams; small ones get small blocks.
template <int Team>
shape team_shape(int64_t teams) {
  if constexpr (Team >= 128) {
    return {teams, Team};
  } else {
    const auto block = static_cast<int>(
        smaller<int64_t>(kTeamThreads<Team>, ceil_div(teams * Team, kWarp) * kWarp));
    return {ceil_div(teams, block / Team), block};
  }
}

// Blocks of `lanes` neighbouring columns times `height` lanes that share the rows; both powers of
// two, 32 to 256 threads.
struct column_block {
  int lanes;
  int height;
  int threads() const { return lanes * height; }
};
inline column_block column_block_of(int64_t columns, int64_t rows) {
  column_block b{1, 1};
  while (b.lanes < kWarp && b.lanes < columns) b.lanes *= 2;
  // Four rows a lane before the next lane pays.
  while (b.threads() < kThreads && (b.threads() < kWarp || b.height * 4 < rows)) b.height *= 2;
  return b;
}

template <class T>
cost cost_of(uint64_t bytes, uint64_t flops) {
  return {bytes, flops, sizeof(acc_t<T>) == 8 ? unit::f64 : unit::f32};
}
