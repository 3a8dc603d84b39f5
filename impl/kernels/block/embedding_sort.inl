// Positions sorted by row: a stable radix sort from the least significant digit, after Satish,
// Harris and Garland, "Designing Efficient Sorting Algorithms for Manycore GPUs" (IPDPS 2009). A
// pass counts each tile's digits, sums the counts over the tiles, then moves the positions and
// their rows; a single tile needs the last step only. I holds every row and every position.

inline constexpr int kSortThreads = 256;
inline constexpr int kSortWarps = kSortThreads / kWarp;
inline constexpr int kSortItems = 8;  // of a thread
inline constexpr int64_t kSortTile = kSortThreads * kSortItems;
inline constexpr int kSortBits = 8;  // of a digit, at most
inline constexpr int kSortDigits = 1 << kSortBits;
static_assert(kSortDigits == kSortThreads);  // a thread is a digit's
static_assert(kSortThreads == kScanThreads);

struct sort_pass {
  int64_t n;
  int64_t tiles;
  int32_t shift;
  int32_t bits;
};

template <class I>
MILL_DEVICE int digit_of(const sort_pass& p, I row) {
  return static_cast<int>(row >> p.shift) & ((1 << p.bits) - 1);
}

MILL_DEVICE int count_bits(uint32_t x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  return static_cast<int>((x * 0x01010101u) >> 24);
}

// counts[digit][tile].
template <int Threads, class I>
MILL_KERNEL(Threads, 2)
sort_count(Block t, MILL_PARAM(sort_pass) p, const I* rows, I* counts) {
  struct Scratch {
    int32_t count[kSortDigits];
  };
  MILL_SHARED(t, Scratch, s);
  s.count[t.tid()] = 0;
  t.barrier();
  MILL_UNROLL
  for (int k = 0; k < kSortItems; ++k) {
    const int64_t i = t.bid() * kSortTile + k * Threads + t.tid();
    if (i < p.n) atomic_add(&s.count[digit_of(p, rows[i])], int32_t{1});
  }
  t.barrier();
  if (t.tid() < 1 << p.bits) {
    counts[t.tid() * p.tiles + t.bid()] = static_cast<I>(s.count[t.tid()]);
  }
}

// A block is a digit's: its counts become sums over the tiles before each.
template <int Threads, class I>
MILL_KERNEL(Threads, 2)
sort_scan(Block t, int64_t tiles, I* counts, I* totals) {
  MILL_SHARED(t, scan_slots<I>, s);
  I* mine = counts + t.bid() * tiles;
  I before = 0;
  for (int64_t base = 0; base < tiles; base += Threads) {
    const int64_t tile = base + t.tid();
    const I value = tile < tiles ? mine[tile] : static_cast<I>(0);
    I all;
    const I sum = block_scan(t, s, value, &all);
    if (tile < tiles) mine[tile] = static_cast<I>(before + sum - value);
    before = static_cast<I>(before + all);
  }
  if (t.tid() == 0) totals[t.bid()] = before;
}

// Moves a tile's positions to their places by digit. order: the positions as the last pass left
// them; null before the first. counts and totals: of sort_scan, null where there is one tile.
template <int Threads, class I>
MILL_KERNEL(Threads, 2)
sort_move(Block t, MILL_PARAM(sort_pass) p, const I* rows, const I* order, const I* counts,
          const I* totals, I* rows_out, I* order_out) {
  struct Scratch {
    int32_t count[kSortWarps][kSortDigits];
    I base[kSortDigits];
    scan_slots<I> scan;
  };
  MILL_SHARED(t, Scratch, s);
  MILL_UNROLL
  for (int w = 0; w < kSortWarps; ++w) s.count[w][t.tid()] = 0;
  t.barrier();

  // A warp takes consecutive positions, so that ranks grow with them.
  const int64_t first = t.bid() * kSortTile + t.warp() * (kSortTile / kSortWarps) + t.lane();
  const uint32_t lanes_below = (1u << t.lane()) - 1u;
  I row[kSortItems];
  I position[kSortItems];
  int rank[kSortItems];  // in the warp, among those of the digit
  MILL_UNROLL
  for (int k = 0; k < kSortItems; ++k) {
    const int64_t i = first + k * kWarp;
    row[k] = static_cast<I>(~static_cast<I>(0));  // beyond the end: behind everything that there is
    position[k] = static_cast<I>(i);
    if (i < p.n) {
      row[k] = rows[i];
      if (order != nullptr) position[k] = order[i];
    }
  }
  MILL_UNROLL
  for (int k = 0; k < kSortItems; ++k) {
    const int digit = digit_of(p, row[k]);
    uint32_t alike = ~0u;
    for (int bit = 0; bit < p.bits; ++bit) {
      const bool one = ((digit >> bit) & 1) != 0;
      const uint32_t ones = t.ballot(one);
      alike &= one ? ones : ~ones;
    }
    int32_t* count = &s.count[t.warp()][digit];
    const int32_t earlier = *count;
    const int below = count_bits(alike & lanes_below);
    rank[k] = earlier + below;
    t.warp_sync();
    if (below == 0) *count = earlier + count_bits(alike);
    t.warp_sync();
  }
  t.barrier();

  int32_t in_tile = 0;
  MILL_UNROLL
  for (int w = 0; w < kSortWarps; ++w) {
    const int32_t here = s.count[w][t.tid()];
    s.count[w][t.tid()] = in_tile;
    in_tile += here;
  }
  const bool used = t.tid() < 1 << p.bits;
  I mine = static_cast<I>(in_tile);
  if (totals != nullptr) mine = used ? totals[t.tid()] : static_cast<I>(0);
  I all;
  I base = static_cast<I>(block_scan(t, s.scan, mine, &all) - mine);
  if (counts != nullptr && used) base = static_cast<I>(base + counts[t.tid() * p.tiles + t.bid()]);
  s.base[t.tid()] = base;
  t.barrier();
  MILL_UNROLL
  for (int k = 0; k < kSortItems; ++k) {
    if (first + k * kWarp >= p.n) continue;
    const int digit = digit_of(p, row[k]);
    const int64_t to = static_cast<int64_t>(s.base[digit]) + s.count[t.warp()][digit] + rank[k];
    rows_out[to] = row[k];
    order_out[to] = position[k];
  }
}
