// The second pass of normalisation over channels: a result from one or two operands and factors of
// each channel. Large results go past the caches.
#pragma once

#include "cpu/channel_sums.h"
#include "cpu/past_cache.h"

namespace mill::cpu::MILL_TARGET {

// Factors of a channel: the first kOwn are those of statistic c / per_stat, the others those of
// parameter c % params.
template <class C, int kOwn, int kShared>
struct Factors {
  const C* at[kOwn + kShared];
  int64_t per_stat;
  int64_t params;
};

// f(to, i, n) for pieces of n elements that belong at out + i: to is there, or on the stack.
template <class S, class F>
MILL_INLINE void each_piece(S* out, int64_t n, bool past, F&& f) {
  if (!past) {
    f(out, 0, n);
    return;
  }
  alignas(64) S piece[kPieceBytes / sizeof(S)];
  constexpr int64_t kStep = kPieceBytes / static_cast<int64_t>(sizeof(S));
  for (int64_t i = 0; i < n; i += kStep) {
    const int64_t m = smaller(kStep, n - i);
    f(piece, i, m);
    write_past_cache(piece, out + i, m * static_cast<int64_t>(sizeof(S)));
  }
}

template <class S>
inline constexpr int64_t kShortRun = 1024 / static_cast<int64_t>(sizeof(S));

// out = f(x, g, factors) where each run belongs to one channel. Tasks are pieces of runs in the
// order of memory.
template <class S, bool kTwo, int kOwn, int kShared, class F>
MILL_INLINE void apply_to_runs(const mill_kernel_args* args, const ChannelView& v, const S* x,
                               const S* g, S* out, bool large,
                               const Factors<Compute<S>, kOwn, kShared>& factors, F&& f) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const int64_t most = v.dense ? 8192 : kTile;
  const int64_t pieces = ceil_div(v.size[0], most);
  const int64_t rows = v.positions / v.size[0];
  const bool past = large && v.dense && v.size[0] >= kShortRun<S>;
  parallel(
      args, rows * v.channels * pieces, grain_of(smaller(most, v.size[0])),
      [&](int64_t first, int64_t last) {
        const Tag<C> d;
        S buffer[3][kTile];
        for (int64_t task = first; task < last; ++task) {
          const int64_t run = task / pieces;
          const int64_t begin = (task - run * pieces) * most;
          const int64_t n = smaller(most, v.size[0] - begin);
          const int64_t row = run / v.channels;
          const int64_t channel = run - row * v.channels;
          const Place p = place_of(v, channel, row * v.size[0] + begin);
          V factor[kOwn + kShared];
          for (int k = 0; k < kOwn; ++k)
            factor[k] = hn::Set(d, factors.at[k][channel / factors.per_stat]);
          for (int k = kOwn; k < kOwn + kShared; ++k)
            factor[k] = hn::Set(d, factors.at[k][channel % factors.params]);
          const S* const from = lined(x + p.at[kX], v.stride[0][kX], n, buffer[1]);
          const S* const slope =
              kTwo ? lined(g + p.at[kG], v.stride[0][kG], n, buffer[2]) : nullptr;
          const bool scattered = v.stride[0][kOut] != 1 && n > 1;
          S* const to = out + p.at[kOut];
          each_piece(scattered ? buffer[0] : to, n, past, [&](S* place, int64_t at, int64_t m) {
            each_vector(d, m, [&](int64_t i, auto part) MILL_LAMBDA_INLINE {
              const V value = get(d, from + at + i, part);
              const V gradient = kTwo ? get(d, (kTwo ? slope : from) + at + i, part) : value;
              put(d, f(value, gradient, factor), place + i, part);
            });
          });
          if (!scattered) continue;
          for (int64_t i = 0; i < n; ++i) to[i * v.stride[0][kOut]] = buffer[0][i];
        }
        if (past) finish_past_cache();
      });
}

// The same where the channels of a position are side by side and each has its own statistic.
template <class S, bool kTwo, int kOwn, int kShared, class F>
MILL_INLINE void apply_to_rows(const mill_kernel_args* args, const ChannelView& v, const S* x,
                               const S* g, S* out, bool large,
                               const Factors<Compute<S>, kOwn, kShared>& factors, F&& f) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  constexpr int64_t kPiece = kPieceBytes / static_cast<int64_t>(sizeof(S));
  const int64_t n = v.channels;
  // Rows that follow one another are sent together.
  const bool follow = v.rank == 1 && v.stride[0][kOut] == n;
  const bool past = large && follow && n <= kPiece;
  const int64_t group = past ? kPiece / n : 1;
  parallel(
      args, ceil_div(v.positions, group), grain_of(n * group), [&](int64_t first, int64_t last) {
        const Tag<C> d;
        alignas(64) S piece[kPiece];
        for (int64_t task = first; task < last; ++task) {
          const int64_t begin = task * group;
          const int64_t rows = smaller(group, v.positions - begin);
          for (int64_t r = 0; r < rows; ++r) {
            const Place p = place_of(v, 0, begin + r);
            const S* const from = x + p.at[kX];
            const S* const slope = kTwo ? g + p.at[kG] : from;
            S* const to = past ? piece + r * n : out + p.at[kOut];
            each_vector(d, n, [&](int64_t i, auto part) MILL_LAMBDA_INLINE {
              V factor[kOwn + kShared];
              for (int k = 0; k < kOwn + kShared; ++k) factor[k] = get(d, factors.at[k] + i, part);
              prefetch(from + i);
              const V value = get(d, from + i, part);
              const V gradient = kTwo ? get(d, slope + i, part) : value;
              put(d, f(value, gradient, factor), to + i, part);
            });
          }
          if (past) {
            write_past_cache(piece, out + begin * n, rows * n * static_cast<int64_t>(sizeof(S)));
          }
        }
        if (past) finish_past_cache();
      });
}

template <class S, bool kTwo, int kOwn, int kShared, class F>
static void apply_channels(const mill_kernel_args* args, const ChannelView& v, const S* x,
                           const S* g, S* out, const Factors<Compute<S>, kOwn, kShared>& factors,
                           F&& f) {
  const int64_t bytes = v.positions * v.channels * static_cast<int64_t>(sizeof(S));
  // In place the lines are in the cache already.
  const bool large = bytes >= kPastCacheBytes && out != x;
  if (v.last) {
    apply_to_rows<S, kTwo>(args, v, x, g, out, large, factors, f);
  } else {
    apply_to_runs<S, kTwo>(args, v, x, g, out, large, factors, f);
  }
}

}  // namespace mill::cpu::MILL_TARGET
