// Statistics of channels in one pass over memory: moments, and the sums that their gradient needs.
// With the channels side by side a vector holds a value of each of several channels, else several
// values of one. A tile that fits the first-level cache gives its own mean and the squares around
// it; tiles are joined in a wider type, in an order that sizes and strides alone decide.
#pragma once

#include "cpu/rows.h"
#include "kernels/channel_view.h"

namespace mill::cpu::MILL_TARGET {

using kernels::ChannelView;
using kernels::kChannelOperands;

// Operands of a view: the result first.
inline constexpr int kOut = 0;
inline constexpr int kX = 1;
inline constexpr int kG = 2;

inline constexpr int64_t kTilePositions = 2048;  // of one channel
inline constexpr int64_t kTileRows = 64;         // positions of a block of channels

struct Place {
  int64_t at[kChannelOperands];
};

MILL_INLINE Place place_of(const ChannelView& v, int64_t channel, int64_t position) {
  Place p;
  for (int k = 0; k < kChannelOperands; ++k) p.at[k] = channel * v.channel[k];
  for (int32_t i = 0; i < v.rank; ++i) {
    const int64_t rest = i + 1 < v.rank ? position / v.size[i] : 0;
    const int64_t here = position - rest * v.size[i];
    for (int k = 0; k < kChannelOperands; ++k) p.at[k] += here * v.stride[i][k];
    position = rest;
  }
  return p;
}

// use(place, n) for runs along the fastest axis that make up the positions [begin, end) of a
// channel. Runs that have to be gathered are at most kTile long.
template <class F>
MILL_INLINE void each_run(const ChannelView& v, int64_t channel, int64_t begin, int64_t end,
                          F&& use) {
  const int64_t most = v.dense ? v.size[0] : smaller(kTile, v.size[0]);
  for (int64_t i = begin; i < end;) {
    const int64_t left = v.rank == 1 ? end - i : smaller(v.size[0] - i % v.size[0], end - i);
    const int64_t n = smaller(left, most);
    use(place_of(v, channel, i), n);
    i += n;
  }
}

// n elements side by side: where they are, or in the buffer of kTile.
template <class S>
MILL_INLINE const S* lined(const S* from, int64_t stride, int64_t n, S* buffer) {
  if (stride == 1 || n == 1) return from;
  for (int64_t i = 0; i < n; ++i) buffer[i] = from[i * stride];
  return buffer;
}

// ---- tasks --------------------------------------------------------------------------------------

struct ChannelChunks {
  int64_t size;  // positions
  int64_t count;
};

// Chunks depend on the shape and the strides alone.
MILL_INLINE ChannelChunks channel_chunks(const ChannelView& v) {
  ChannelChunks c;
  if (v.last) {
    const int64_t least =
        larger(ceil_div(v.positions, 64), ceil_div(kParallelElements, v.channels));
    c.size = ceil_div(larger<int64_t>(least, 1), kTileRows) * kTileRows;
  } else {
    const int64_t wanted = ceil_div(256, larger<int64_t>(v.channels, 1));
    const int64_t least = larger<int64_t>(ceil_div(v.positions, wanted), 2 * kParallelElements);
    c.size = ceil_div(least, kTilePositions) * kTilePositions;
  }
  c.count = larger<int64_t>(1, ceil_div(v.positions, c.size));
  return c;
}

// tile(channel, chunk, begin, end) for tiles of positions, a channel's in order, where the channels
// are not side by side. Channels with short runs are taken together, for they share lines.
template <class F>
MILL_INLINE void each_channel_tile(const mill_kernel_args* args, const ChannelView& v,
                                   const ChannelChunks& chunks, F&& tile) {
  const int64_t together = larger<int64_t>(1, smaller<int64_t>(64, 1024 / v.size[0]));
  const int64_t blocks = ceil_div(v.channels, together);
  parallel(args, blocks * chunks.count, grain_of(together * smaller(chunks.size, v.positions)),
           [&](int64_t first, int64_t last) {
             for (int64_t task = first; task < last; ++task) {
               const int64_t chunk = task / blocks;
               const int64_t channel = (task - chunk * blocks) * together;
               const int64_t end = smaller(v.positions, (chunk + 1) * chunks.size);
               for (int64_t i = chunk * chunks.size; i < end; i += kTilePositions) {
                 for (int64_t c = channel; c < smaller(v.channels, channel + together); ++c)
                   tile(c, chunk, i, smaller(end, i + kTilePositions));
               }
             }
           });
}

// tile(chunk, places of the rows, rows, whether the chunk begins) for tiles of positions where the
// channels are side by side.
template <class F>
MILL_INLINE void each_row_tile(const mill_kernel_args* args, const ChannelView& v,
                               const ChannelChunks& chunks, F&& tile) {
  parallel(args, chunks.count, grain_of(v.channels * chunks.size),
           [&](int64_t first, int64_t last) {
             Place rows[kTileRows];
             for (int64_t chunk = first; chunk < last; ++chunk) {
               const int64_t begin = chunk * chunks.size;
               const int64_t end = smaller(v.positions, begin + chunks.size);
               for (int64_t i = begin; i < end; i += kTileRows) {
                 const int64_t n = smaller(kTileRows, end - i);
                 for (int64_t r = 0; r < n; ++r) rows[r] = place_of(v, 0, i + r);
                 tile(chunk, rows, n, i - begin);
               }
             }
           });
}

// body(first channel, Full or Part, number of vectors) over all channels, U vectors at a time.
template <int U>
struct Vectors {};
template <int U, class D, class F>
MILL_INLINE void each_channel_block(D, int64_t channels, F&& body) {
  constexpr int64_t kStep = kLanes<D>;
  int64_t c = 0;
  for (; c + U * kStep <= channels; c += U * kStep) body(c, Full{}, Vectors<U>{});
  for (; c + kStep <= channels; c += kStep) body(c, Full{}, Vectors<1>{});
  if (c < channels) body(c, Part{channels - c}, Vectors<1>{});
}

// ---- moments ------------------------------------------------------------------------------------

// Joins `more` values with a mean and a sum of squared distances from it to the `have` before:
// Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
// Variances" (1979).
template <class W>
MILL_INLINE void join_moments(W* mean, W* squares, W have, W new_mean, W new_squares, W more) {
  const W distance = new_mean - *mean;
  const W share = more / (have + more);
  *mean += distance * share;
  *squares += new_squares + distance * distance * have * share;
}

// What a mean is off by, from the sum of the distances to it: Chan, Golub and LeVeque, "Algorithms
// for Computing the Sample Variance" (1983). Where the distances are larger than the mean they are
// rounded more than it is, and it stays.
template <class W>
MILL_INLINE W mean_correction(W mean, W distances, W squares, int64_t n) {
  const auto count = static_cast<W>(n);
  return count * mean * mean > squares ? distances / count : W(0);
}

// Mean and squares of chunk k of channel c at [k * channels + c].
template <class S>
static void channel_moments(const mill_kernel_args* args, const ChannelView& v,
                            const ChannelChunks& chunks, const S* x, Wide<Compute<S>>* means,
                            Wide<Compute<S>>* squares) {
  using C = Compute<S>;
  using W = Wide<C>;
  using V = Vec<Tag<C>>;
  if (v.last) {
    each_row_tile(args, v, chunks, [&](int64_t chunk, const Place* rows, int64_t n, int64_t have) {
      const Tag<C> d;
      W* const mean_to = means + chunk * v.channels;
      W* const squares_to = squares + chunk * v.channels;
      each_channel_block<4>(d, v.channels, [&]<int U>(int64_t c, auto part, Vectors<U>) {
        constexpr int64_t kStep = kLanes<Tag<C>>;
        V sum[U];
        V square[U];
        for (int u = 0; u < U; ++u) sum[u] = square[u] = hn::Zero(d);
        for (int64_t r = 0; r < n; ++r) {
          const S* const row = x + rows[r].at[kX] + c;
          for (int u = 0; u < U; ++u) sum[u] = hn::Add(sum[u], get(d, row + u * kStep, part));
        }
        const V count = hn::Set(d, static_cast<C>(n));
        V off[U];
        for (int u = 0; u < U; ++u) {
          sum[u] = hn::Div(sum[u], count);
          off[u] = hn::Zero(d);
        }
        for (int64_t r = 0; r < n; ++r) {
          const S* const row = x + rows[r].at[kX] + c;
          for (int u = 0; u < U; ++u) {
            const V distance = hn::Sub(get(d, row + u * kStep, part), sum[u]);
            square[u] = hn::MulAdd(distance, distance, square[u]);
            off[u] = hn::Add(off[u], distance);
          }
        }
        C tile_mean[U * kStep];
        C tile_squares[U * kStep];
        C tile_off[U * kStep];
        for (int u = 0; u < U; ++u) {
          hn::StoreU(off[u], d, tile_off + u * kStep);
          hn::StoreU(sum[u], d, tile_mean + u * kStep);
          hn::StoreU(square[u], d, tile_squares + u * kStep);
        }
        const int64_t here = smaller(U * kStep, v.channels - c);
        for (int64_t j = 0; j < here; ++j) {
          if (have == 0) mean_to[c + j] = squares_to[c + j] = 0;
          const W shift = mean_correction<W>(tile_mean[j], tile_off[j], tile_squares[j], n);
          join_moments<W>(mean_to + c + j, squares_to + c + j, static_cast<W>(have),
                          static_cast<W>(tile_mean[j]) + shift,
                          static_cast<W>(tile_squares[j]) - static_cast<W>(n) * shift * shift,
                          static_cast<W>(n));
        }
      });
    });
    return;
  }
  each_channel_tile(
      args, v, chunks, [&](int64_t channel, int64_t chunk, int64_t begin, int64_t end) {
        const Tag<C> d;
        S buffer[kTile];
        const auto n = static_cast<W>(end - begin);
        V sum = hn::Zero(d);
        each_run(v, channel, begin, end, [&](const Place& p, int64_t m) {
          const S* const run = lined(x + p.at[kX], v.stride[0][kX], m, buffer);
          sum = hn::Add(sum, sum_vectors(d, 0, m, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
                          prefetch(run + i);
                          return get(d, run + i, part);
                        }));
        });
        const C center = static_cast<C>(static_cast<W>(lanes_sum(d, sum)) / n);
        const V middle = hn::Set(d, center);
        W off = 0;
        W squares_here = 0;
        each_run(v, channel, begin, end, [&](const Place& p, int64_t m) {
          const S* const run = lined(x + p.at[kX], v.stride[0][kX], m, buffer);
          W distances;
          W squared;
          sum_pairs(d, m, &distances, &squared,
                    [=](int64_t i, auto part, V* first, V* second) MILL_LAMBDA_INLINE {
                      *first = hn::Sub(get(d, run + i, part), middle);
                      *second = hn::Mul(*first, *first);
                    });
          off += distances;
          squares_here += squared;
        });
        const int64_t at = chunk * v.channels + channel;
        const int64_t have = begin - chunk * chunks.size;
        if (have == 0) means[at] = squares[at] = 0;
        const W shift = mean_correction<W>(center, off, squares_here, end - begin);
        join_moments<W>(means + at, squares + at, static_cast<W>(have),
                        static_cast<W>(center) + shift, squares_here - n * shift * shift, n);
      });
}

// ---- sums for the gradient ----------------------------------------------------------------------

// Sums of g and of g xhat of chunk k of channel c at [k * channels + c]; mean and rstd of channel c
// at c / per_stat.
template <class S>
static void channel_products(const mill_kernel_args* args, const ChannelView& v,
                             const ChannelChunks& chunks, const S* x, const S* g,
                             const Compute<S>* mean, const Compute<S>* rstd, int64_t per_stat,
                             Wide<Compute<S>>* sums, Wide<Compute<S>>* products) {
  using C = Compute<S>;
  using W = Wide<C>;
  using V = Vec<Tag<C>>;
  if (v.last) {
    each_row_tile(args, v, chunks, [&](int64_t chunk, const Place* rows, int64_t n, int64_t have) {
      const Tag<C> d;
      W* const sums_to = sums + chunk * v.channels;
      W* const products_to = products + chunk * v.channels;
      each_channel_block<2>(d, v.channels, [&]<int U>(int64_t c, auto part, Vectors<U>) {
        constexpr int64_t kStep = kLanes<Tag<C>>;
        V sum[U];
        V product[U];
        V middle[U];
        V scale[U];
        for (int u = 0; u < U; ++u) {
          sum[u] = product[u] = hn::Zero(d);
          middle[u] = get(d, mean + c + u * kStep, part);
          scale[u] = get(d, rstd + c + u * kStep, part);
        }
        for (int64_t r = 0; r < n; ++r) {
          const S* const row = x + rows[r].at[kX] + c;
          const S* const slope = g + rows[r].at[kG] + c;
          for (int u = 0; u < U; ++u) {
            const V gradient = get(d, slope + u * kStep, part);
            const V normal = hn::Mul(hn::Sub(get(d, row + u * kStep, part), middle[u]), scale[u]);
            sum[u] = hn::Add(sum[u], gradient);
            product[u] = hn::MulAdd(gradient, normal, product[u]);
          }
        }
        C tile_sum[U * kStep];
        C tile_product[U * kStep];
        for (int u = 0; u < U; ++u) {
          hn::StoreU(sum[u], d, tile_sum + u * kStep);
          hn::StoreU(product[u], d, tile_product + u * kStep);
        }
        const int64_t here = smaller(U * kStep, v.channels - c);
        for (int64_t j = 0; j < here; ++j) {
          sums_to[c + j] = tile_sum[j] + (have == 0 ? W(0) : sums_to[c + j]);
          products_to[c + j] = tile_product[j] + (have == 0 ? W(0) : products_to[c + j]);
        }
      });
    });
    return;
  }
  each_channel_tile(
      args, v, chunks, [&](int64_t channel, int64_t chunk, int64_t begin, int64_t end) {
        const Tag<C> d;
        S buffer[2][kTile];
        const V middle = hn::Set(d, mean[channel / per_stat]);
        const V scale = hn::Set(d, rstd[channel / per_stat]);
        W sum = 0;
        W product = 0;
        each_run(v, channel, begin, end, [&](const Place& p, int64_t m) {
          const S* const run = lined(x + p.at[kX], v.stride[0][kX], m, buffer[0]);
          const S* const slope = lined(g + p.at[kG], v.stride[0][kG], m, buffer[1]);
          W a;
          W b;
          sum_pairs(d, m, &a, &b,
                    [=](int64_t i, auto part, V* first, V* second) MILL_LAMBDA_INLINE {
                      prefetch(run + i);
                      prefetch(slope + i);
                      *first = get(d, slope + i, part);
                      const V normal = hn::Mul(hn::Sub(get(d, run + i, part), middle), scale);
                      *second = hn::Mul(*first, normal);
                    });
          sum += a;
          product += b;
        });
        const int64_t at = chunk * v.channels + channel;
        const bool begins = begin == chunk * chunks.size;
        sums[at] = sum + (begins ? W(0) : sums[at]);
        products[at] = product + (begins ? W(0) : products[at]);
      });
}

}  // namespace mill::cpu::MILL_TARGET
