// The gradient of attention. Tiles of scores are computed anew and lie transposed, keys by queries:
// then every product but one reads them as its left operand, and that one gives the transpose of
// dq. Included by attention.cpp only, once per SIMD target.
#pragma once

#include "cpu/attention_tiles.h"

namespace mill::cpu::MILL_TARGET {
namespace {

template <class T>
struct BackwardMemory {
  // Of the keys' head.
  T* k_rows;  // where k cannot be read in place, as the next
  T* v_rows;
  T* k_columns;  // k transposed
  T* dk;
  T* dv;
  // Of one of the queries' heads.
  T* q_columns;  // packed as right operands
  T* g_columns;
  T* q_rows;  // where q cannot be read in place, as the next
  T* g_rows;
  T* dq_columns;  // dq transposed
  T* lse;
  T* delta;  // sum(g y) of a query, less what arrives by logsumexp
  // Of one tile.
  T* p;
  T* ds;
  T* stage;
  int64_t width_pitch, value_pitch, key_pitch, query_pitch;
  int64_t total;

  BackwardMemory(const Shape& s, T* at) {
    Carver<T> carve{at, 0};
    width_pitch = padded(s.width, kVector<T>);
    value_pitch = padded(s.value_width, kVector<T>);
    key_pitch = padded(s.keys, kVector<T>) + kRowGap;
    query_pitch = padded(s.queries, kVector<T>) + kRowGap;
    k_rows = carve.take(s.keys * width_pitch);
    v_rows = carve.take(s.keys * value_pitch);
    k_columns = carve.take(s.width * key_pitch);
    dk = carve.take(s.keys * width_pitch);
    dv = carve.take(s.keys * value_pitch);
    q_columns = carve.take(padded(s.queries, kPanel<T>) * s.width);
    g_columns = carve.take(padded(s.queries, kPanel<T>) * s.value_width);
    q_rows = carve.take(s.queries * width_pitch);
    g_rows = carve.take(s.queries * value_pitch);
    dq_columns = carve.take(s.width * query_pitch);
    lse = carve.take(s.queries);
    delta = carve.take(s.queries);
    p = carve.take(kTileKeys * kTileQueries);
    ds = carve.take(kTileKeys * kTileQueries);
    stage = carve.take(kTileQueries * gemm::kPackedRow);
    total = carve.used;
  }
};

template <class T>
MILL_INLINE void fill_zero(T* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = 0;
}

// Rows in T: where they lie, or copied.
template <class S, class T>
Rows<T> rows_in(const Rows<S>& x, int64_t n, bool whole_vectors, T* copy, int64_t pitch) {
  const bool in_place =
      std::is_same_v<S, T> && x.col == 1 && (!whole_vectors || lies_ready<S, T>(x));
  if (in_place) return {reinterpret_cast<const T*>(x.data), x.row, 1, x.width};
  copy_rows(x, 0, n, T(1), copy, pitch);
  return {copy, pitch, 1, x.width};
}

template <class S, class T>
T dot(const Rows<S>& a, const Rows<S>& b, int64_t r) {
  const S* x = a.at(r);
  const S* y = b.at(r);
  if (a.col == 1 && b.col == 1) {
    const Tag<T> d;
    return static_cast<T>(sum_terms(d, a.width, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
      return hn::Mul(get(d, x + i, part), get(d, y + i, part));
    }));
  }
  Wide<T> sum = 0;
  for (int64_t i = 0; i < a.width; ++i)
    sum +=
        static_cast<Wide<T>>(element(x[i * a.col])) * static_cast<Wide<T>>(element(y[i * b.col]));
  return static_cast<T>(sum);
}

// One of the queries' heads: its operands in the forms that the products want.
template <class S, class T>
struct QueryHead {
  Sight<S> sight;
  Rows<T> q, g;
  T scale;
  S* dscores;  // NULL: not wanted
  int64_t dscores_row, dscores_col;
};

// p and ds of keys [key, key + nk) and queries [first, first + nq), both transposed.
template <class S, class T>
void tile_of_scores(const Shape& s, const QueryHead<S, T>& h, const Rows<T>& k, const Rows<T>& v,
                    const BackwardMemory<T>& m, int64_t key, int64_t nk, int64_t first,
                    int64_t nq) {
  const Tag<T> d;
  multiply(nk, nq, s.width, k.at(key), k.row,
           {m.q_columns + first * s.width, kPanel<T>, kPanel<T> * s.width}, m.p, kTileQueries,
           false);
  multiply(nk, nq, s.value_width, v.at(key), v.row,
           {m.g_columns + first * s.value_width, kPanel<T>, kPanel<T> * s.value_width}, m.ds,
           kTileQueries, false);
  const bool edited = h.sight.mask.data != nullptr || h.sight.bias.data != nullptr;
  for (int64_t c = 0; c < nk; ++c) {
    T* p = m.p + c * kTileQueries;
    T* ds = m.ds + c * kTileQueries;
    // Queries before this one do not see the key.
    const int64_t begin = smaller(nq, larger<int64_t>(0, h.sight.first_query(key + c) - first));
    fill_zero(p, begin);
    fill_zero(ds, begin);
    T factor = h.scale;
    if (edited) {
      for (int64_t r = begin; r < nq; ++r) p[r] *= h.scale;
      edit_column(h.sight, first + begin, key + c, nq - begin, p + begin);
      factor = 1;
    }
    const T* lse = m.lse + first + begin;
    const T* delta = m.delta + first + begin;
    T* const p_at = p + begin;
    T* const ds_at = ds + begin;
    const Vec<Tag<T>> factors = hn::Set(d, factor);
    const Vec<Tag<T>> low = hn::Set(d, -static_cast<T>(__builtin_huge_val()));
    each_vector(d, nq - begin, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
      // With a logsumexp of +infinity in place of -infinity a query that sees nothing has p = 0.
      const Vec<Tag<T>> x =
          hn::Sub(hn::Mul(get(d, p_at + i, part), factors), get(d, lse + i, part));
      const Vec<Tag<T>> e = hn::IfThenZeroElse(hn::Eq(x, low), Math<Tag<T>>::exp(x));
      put(d, e, p_at + i, part);
      put(d, hn::Mul(e, hn::Sub(get(d, ds_at + i, part), get(d, delta + i, part))), ds_at + i,
          part);
    });
    if (h.dscores == nullptr) continue;
    for (int64_t r = 0; r < nq; ++r)
      h.dscores[(first + r) * h.dscores_row + (key + c) * h.dscores_col] = stored<S>(ds[r]);
  }
}

// Adds what one head of the queries gives to dk and dv, and leaves its dq transposed.
template <class S, class T>
void head_gradients(const Shape& s, const QueryHead<S, T>& h, const Rows<T>& k, const Rows<T>& v,
                    const BackwardMemory<T>& m) {
  fill_zero(m.dq_columns, s.width * m.query_pitch);
  if (h.dscores != nullptr) {
    for (int64_t r = 0; r < s.queries; ++r) {
      for (int64_t c = 0; c < s.keys; ++c)
        h.dscores[r * h.dscores_row + c * h.dscores_col] = stored<S>(T(0));
    }
  }
  for (int64_t key = 0; key < h.sight.keys; key += kTileKeys) {
    const int64_t nk = smaller(kTileKeys, h.sight.keys - key);
    const int64_t earliest = h.sight.first_query(key) / kTileQueries * kTileQueries;
    for (int64_t first = earliest; first < s.queries; first += kTileQueries) {
      const int64_t nq = smaller(kTileQueries, s.queries - first);
      tile_of_scores(s, h, k, v, m, key, nk, first, nq);
      multiply(nk, s.value_width, nq, m.p, kTileQueries, {h.g.at(first), h.g.row, kPanel<T>},
               m.dv + key * m.value_pitch, m.value_pitch, true);
      multiply(nk, s.width, nq, m.ds, kTileQueries, {h.q.at(first), h.q.row, kPanel<T>},
               m.dk + key * m.width_pitch, m.width_pitch, true);
      multiply(s.width, nq, nk, m.k_columns + key, m.key_pitch, {m.ds, kTileQueries, kPanel<T>},
               m.dq_columns + first, m.query_pitch, true);
    }
  }
}

// Rows of dq out of its transpose.
template <class S, class T>
void store_dq(const Shape& s, const BackwardMemory<T>& m, T scale, S* out, int64_t row,
              int64_t col) {
  for (int64_t first = 0; first < s.queries; first += kTileQueries) {
    const int64_t n = smaller(kTileQueries, s.queries - first);
    for (int64_t i = 0; i < s.width; i += gemm::kDepth) {
      const int64_t width = smaller(gemm::kDepth, s.width - i);
      gemm::pack_a(m.dq_columns + i * m.query_pitch + first, 1, m.query_pitch, n, width, m.stage);
      for (int64_t r = 0; r < n; ++r) scale_row(m.stage + r * gemm::kPackedRow, width, scale);
      gemm::unpack<S>(m.stage, gemm::kPackedRow, n, width, out + first * row + i * col, row, col,
                      false);
    }
  }
}

template <class S>
uint64_t attention_backward_workspace(const mill_kernel_args* args) {
  using T = Compute<S>;
  const Shape s = shape_of(*args->in[1], *args->in[2], *args->in[3]);
  const BackwardMemory<T> memory(s, nullptr);
  return static_cast<uint64_t>(slots_of(args, s.batch * s.key_heads) * memory.total) * sizeof(T);
}

template <class S>
mill_status attention_backward(const mill_kernel_args* args) {
  using T = Compute<S>;
  const mill_kernel_tensor& g = *args->in[0];
  const mill_kernel_tensor& q = *args->in[1];
  const mill_kernel_tensor& k = *args->in[2];
  const mill_kernel_tensor& v = *args->in[3];
  const mill_kernel_tensor& y = *args->in[4];
  const mill_kernel_tensor& lse = *args->in[5];
  const mill_kernel_tensor* g_lse = args->in[6];
  const mill_kernel_tensor* dq = output(args, 0);
  const mill_kernel_tensor* dk = output(args, 1);
  const mill_kernel_tensor* dv = output(args, 2);
  const mill_kernel_tensor* dscores = output(args, 3);
  const Shape s = shape_of(q, k, v);
  const mill_status status = check_lengths(args, input(args, 9), s.keys);
  if (status != MILL_OK || s.batch * s.key_heads == 0) return status;
  const int64_t piece = BackwardMemory<T>(s, nullptr).total;
  const double work = static_cast<double>(s.batch * s.heads * s.queries) *
                      static_cast<double>(s.keys * (3 * s.width + 2 * s.value_width));
  const auto scale = static_cast<T>(args->attr[2].f);
  return each_task<T>(
      args, s.batch * s.key_heads, work, piece, [&, scale](int64_t task, T* memory) {
        const BackwardMemory<T> m(s, memory);
        const int64_t batch = task / s.key_heads;
        const int64_t key_head = task % s.key_heads;
        const Rows<S> k_head = rows_of<S>(k, batch, key_head);
        const Rows<T> keys = rows_in(k_head, s.keys, false, m.k_rows, m.width_pitch);
        const Rows<T> values =
            rows_in(rows_of<S>(v, batch, key_head), s.keys, false, m.v_rows, m.value_pitch);
        // Left operands are read by rows: k transposed has a row per column of k.
        for (int64_t c = 0; c < s.keys; ++c) {
          const T* from = keys.at(c);
          for (int64_t i = 0; i < s.width; ++i) m.k_columns[i * m.key_pitch + c] = from[i];
        }
        fill_zero(m.dk, s.keys * m.width_pitch);
        fill_zero(m.dv, s.keys * m.value_pitch);
        for (int64_t member = 0; member < s.group; ++member) {
          const int64_t head = key_head * s.group + member;
          const Rows<S> q_head = rows_of<S>(q, batch, head);
          const Rows<S> g_head = rows_of<S>(g, batch, head);
          const Rows<S> y_head = rows_of<S>(y, batch, head);
          pack_columns(q_head, 0, s.queries, m.q_columns);
          pack_columns(g_head, 0, s.queries, m.g_columns);
          QueryHead<S, T> h{sight_of<S>(args, 7, s.keys, batch, head),
                            rows_in(q_head, s.queries, true, m.q_rows, m.width_pitch),
                            rows_in(g_head, s.queries, true, m.g_rows, m.value_pitch),
                            scale,
                            nullptr,
                            0,
                            0};
          if (dscores != nullptr) {
            h.dscores = static_cast<S*>(dscores->data) + batch * dscores->strides[0] +
                        head * dscores->strides[1];
            h.dscores_row = dscores->strides[2];
            h.dscores_col = dscores->strides[3];
          }
          const T* sums =
              static_cast<const T*>(lse.data) + batch * lse.strides[0] + head * lse.strides[1];
          const T* arriving = g_lse == nullptr
                                  ? nullptr
                                  : static_cast<const T*>(g_lse->data) + batch * g_lse->strides[0] +
                                        head * g_lse->strides[1];
          const auto infinity = static_cast<T>(__builtin_huge_val());
          for (int64_t r = 0; r < s.queries; ++r) {
            const T sum = sums[r * lse.strides[2]];
            m.lse[r] = sum == -infinity ? infinity : sum;
            m.delta[r] = dot<S, T>(g_head, y_head, r);
            if (arriving != nullptr) m.delta[r] -= arriving[r * g_lse->strides[2]];
          }
          head_gradients(s, h, keys, values, m);
          if (dq != nullptr) {
            store_dq(s, m, scale,
                     static_cast<S*>(dq->data) + batch * dq->strides[0] + head * dq->strides[1],
                     dq->strides[2], dq->strides[3]);
          }
        }
        if (dk != nullptr) {
          for (int64_t c = 0; c < s.keys; ++c) scale_row(m.dk + c * m.width_pitch, s.width, scale);
          gemm::unpack<S>(
              m.dk, m.width_pitch, s.keys, s.width,
              static_cast<S*>(dk->data) + batch * dk->strides[0] + key_head * dk->strides[1],
              dk->strides[2], dk->strides[3], false);
        }
        if (dv != nullptr) {
          gemm::unpack<S>(
              m.dv, m.value_pitch, s.keys, s.value_width,
              static_cast<S*>(dv->data) + batch * dv->strides[0] + key_head * dv->strides[1],
              dv->strides[2], dv->strides[3], false);
        }
      });
}

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
