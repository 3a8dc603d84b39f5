// Running sums over the threads of a block.

inline constexpr int kScanThreads = 256;
inline constexpr int kScanWarps = kScanThreads / kWarp;

template <class I>
struct scan_slots {
  I warp[kScanWarps];
};

// The sum over the block's threads up to this one; *total: over all. Two barriers.
template <class I>
MILL_DEVICE I block_scan(const Block& t, scan_slots<I>& s, I value, I* total) {
  I sum = value;
  for (int step = 1; step < kWarp; step *= 2) {
    const I before = t.shfl_up(sum, step);
    if (t.lane() >= step) sum = static_cast<I>(sum + before);
  }
  if (t.lane() == kWarp - 1) s.warp[t.warp()] = sum;
  t.barrier();
  I all = 0;
  MILL_UNROLL
  for (int w = 0; w < kScanWarps; ++w) {
    if (w == t.warp()) sum = static_cast<I>(sum + all);
    all = static_cast<I>(all + s.warp[w]);
  }
  t.barrier();
  *total = all;
  return sum;
}
