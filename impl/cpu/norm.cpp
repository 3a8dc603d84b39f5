// Layer normalisation (Ba, Kiros and Hinton, 2016), RMS normalisation (Zhang and Sennrich, 2019),
// which does not centre, and their gradients. A row stays in the first-level
// cache for its three passes. The gradients of weight and bias are sums over rows: each chunk of
// rows makes a partial row of both, and the partial rows are added in order; chunks depend on the
// shape alone.
#include "cpu/past_cache.h"
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

struct Extent {
  int64_t rows;
  int64_t n;
};

Extent extent_of(const mill_kernel_tensor* x, int64_t axes) {
  const int32_t first = x->rank - static_cast<int32_t>(axes);
  return {product(x, 0, first), product(x, first, x->rank)};
}

template <class T>
T* data_of(const mill_kernel_tensor* t) {
  return t == nullptr ? nullptr : static_cast<T*>(t->data);
}

// Residual: of the sum of inputs 0 and 1, which is output 1; the other inputs and outputs follow.
// Not centred it is RMS norm, which has neither bias nor mean.
template <class S, bool Residual, bool Centred>
mill_status layer_norm(const mill_kernel_args* args) {
  using C = Compute<S>;  // also the dtype of mean and rstd
  constexpr uint32_t kMore = Residual ? 1 : 0;
  const mill_kernel_tensor* x_tensor = args->in[0];
  const Extent e = extent_of(x_tensor, args->attr[0].i);
  if (e.rows == 0) return MILL_OK;
  const double eps = args->attr[1].f;
  const S* x = data_of<const S>(x_tensor);
  const S* residual = Residual ? data_of<const S>(args->in[1]) : nullptr;
  const S* weight = data_of<const S>(input(args, 1 + kMore));
  const S* bias = Centred ? data_of<const S>(input(args, 2 + kMore)) : nullptr;
  S* out = data_of<S>(args->out[0]);
  S* sum_out = Residual ? data_of<S>(output(args, 1)) : nullptr;
  C* mean = Centred ? data_of<C>(output(args, 1 + kMore)) : nullptr;
  C* rstd = data_of<C>(output(args, Centred ? 2 + kMore : 1));
  parallel(args, e.rows, grain_of(e.n), [=](int64_t begin, int64_t end) {
    const Tag<C> d;
    using V = Vec<Tag<C>>;
    const double count = static_cast<double>(e.n);
    OutRows<S> results(e.rows, e.n);
    for (int64_t r = begin; r < end; ++r) {
      const S* from = x + r * e.n;
      S* to = results.at(out + r * e.n);
      if constexpr (Residual) {
        const S* const more = residual + r * e.n;
        // The norm is that of the sums as they are stored, for backward has no others.
        S* const kept = sum_out != nullptr ? sum_out + r * e.n : to;
        each_vector(d, e.n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
          prefetch(from + i, e.n * static_cast<int64_t>(sizeof(S)));  // the next row
          prefetch(more + i, e.n * static_cast<int64_t>(sizeof(S)));
          put(d, hn::Add(get(d, from + i, part), get(d, more + i, part)), kept + i, part);
        });
        from = kept;
      }
      C center = 0;
      if constexpr (Centred) {
        const double sum = sum_terms(d, e.n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
          return get(d, from + i, part);
        });
        center = static_cast<C>(sum / count);
      }
      const V middle = hn::Set(d, center);
      const double squares = sum_terms(d, e.n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
        if constexpr (!Residual) prefetch(from + i, e.n * static_cast<int64_t>(sizeof(S)));
        const V distance = hn::Sub(get(d, from + i, part), middle);
        return hn::Mul(distance, distance);
      });
      const C inverse = static_cast<C>(1 / std::sqrt(squares / count + eps));
      if (mean != nullptr) mean[r] = center;
      if (rstd != nullptr) rstd[r] = inverse;
      const V scale = hn::Set(d, inverse);
      const auto normal = [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
        return hn::Mul(hn::Sub(get(d, from + i, part), middle), scale);
      };
      if (weight != nullptr && bias != nullptr) {
        each_vector(d, e.n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
          put(d, hn::MulAdd(normal(i, part), get(d, weight + i, part), get(d, bias + i, part)),
              to + i, part);
        });
        results.done(out + r * e.n);
        continue;
      }
      each_vector(d, e.n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
        V value = normal(i, part);
        if (weight != nullptr) value = hn::Mul(value, get(d, weight + i, part));
        if (bias != nullptr) value = hn::Add(value, get(d, bias + i, part));
        put(d, value, to + i, part);
      });
      results.done(out + r * e.n);
    }
  });
  return MILL_OK;
}

// ---- gradient -----------------------------------------------------------------------------------

struct Chunks {
  int64_t rows;  // of one chunk
  int64_t count;
};

Chunks chunks_of(int64_t rows) {
  const int64_t size = larger<int64_t>(32, ceil_div(rows, 128));
  return {size, ceil_div(rows, size)};
}

template <class S>
uint64_t layer_norm_backward_workspace(const mill_kernel_args* args) {
  if (output(args, 1) == nullptr && output(args, 2) == nullptr) return 0;
  const Extent e = extent_of(args->in[1], args->attr[0].i);
  return 2 * static_cast<uint64_t>(chunks_of(e.rows).count) * static_cast<uint64_t>(e.n) *
         sizeof(Compute<S>);
}

template <class S>
struct Backward {
  const S* g;
  const S* x;
  const S* weight;         // may be null
  const Compute<S>* mean;  // null where it is not taken off
  const Compute<S>* rstd;
  S* dx;  // may be null
  int64_t n;
};

// dx = rstd (gw - mean(gw) - xhat mean(gw xhat)) with gw = g weight, xhat = (x - mean) rstd; not
// centred, without mean(gw).
template <class S, bool Centred>
void backward_dx(const Backward<S>& k, int64_t r, S* dx) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const S* g = k.g + r * k.n;
  const S* x = k.x + r * k.n;
  const S* weight = k.weight;
  const V mean = hn::Set(d, Centred ? k.mean[r] : C(0));
  const V rstd = hn::Set(d, k.rstd[r]);
  const auto weighted = [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V v = get(d, g + i, part);
    return weight == nullptr ? v : hn::Mul(v, get(d, weight + i, part));
  };
  const auto normal = [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    return hn::Mul(hn::Sub(get(d, x + i, part), mean), rstd);
  };
  Wide<C> sum;
  Wide<C> product_sum;
  sum_pairs(d, k.n, &sum, &product_sum, [=](int64_t i, auto part, V* a, V* b) MILL_LAMBDA_INLINE {
    *a = weighted(i, part);
    *b = hn::Mul(*a, normal(i, part));
  });
  const V shift = hn::Set(d, Centred ? static_cast<C>(sum / static_cast<Wide<C>>(k.n)) : C(0));
  const V slope = hn::Set(d, static_cast<C>(product_sum / static_cast<Wide<C>>(k.n)));
  each_vector(d, k.n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V rest = hn::NegMulAdd(normal(i, part), slope, hn::Sub(weighted(i, part), shift));
    put(d, hn::Mul(rest, rstd), dx + i, part);
  });
}

// dweight += g xhat, dbias += g
template <class S>
void add_parameters(const Backward<S>& k, int64_t r, Compute<S>* dweight, Compute<S>* dbias) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Tag<C> d;
  const S* g = k.g + r * k.n;
  const S* x = k.x + r * k.n;
  const V mean = hn::Set(d, k.mean == nullptr ? C(0) : k.mean[r]);
  const V rstd = hn::Set(d, k.rstd[r]);
  each_vector(d, k.n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const V gradient = get(d, g + i, part);
    const V normal = hn::Mul(hn::Sub(get(d, x + i, part), mean), rstd);
    put(d, hn::MulAdd(gradient, normal, get(d, dweight + i, part)), dweight + i, part);
    put(d, hn::Add(gradient, get(d, dbias + i, part)), dbias + i, part);
  });
}

// to[j] = sum over chunks of partial[chunk][j], rows of partial being `stride` apart.
template <class S>
void combine(const mill_kernel_args* args, const Compute<S>* partial, int64_t chunks,
             int64_t stride, S* to, int64_t n) {
  using C = Compute<S>;
  using T = Wide<C>;
  constexpr int64_t kColumns = 256;
  parallel(args, ceil_div(n, kColumns), grain_of(kColumns * chunks),
           [=](int64_t begin, int64_t end) {
             T totals[kColumns];
             for (int64_t tile = begin; tile < end; ++tile) {
               const int64_t first = tile * kColumns;
               const int64_t columns = smaller(kColumns, n - first);
               for (int64_t j = 0; j < columns; ++j) totals[j] = 0;
               for (int64_t chunk = 0; chunk < chunks; ++chunk) {
                 const C* row = partial + chunk * stride + first;
                 for (int64_t j = 0; j < columns; ++j) totals[j] += row[j];
               }
               for (int64_t j = 0; j < columns; ++j)
                 to[first + j] = stored<S>(static_cast<C>(totals[j]));
             }
           });
}

template <class S, bool Centred>
mill_status layer_norm_backward(const mill_kernel_args* args) {
  using C = Compute<S>;
  const Extent e = extent_of(args->in[1], args->attr[0].i);
  const Backward<S> k = {data_of<const S>(args->in[0]),
                         data_of<const S>(args->in[1]),
                         data_of<const S>(args->in[2]),
                         Centred ? data_of<const C>(args->in[3]) : nullptr,
                         data_of<const C>(args->in[Centred ? 4 : 3]),
                         data_of<S>(args->out[0]),
                         e.n};
  S* dweight = data_of<S>(output(args, 1));
  S* dbias = Centred ? data_of<S>(output(args, 2)) : nullptr;
  const bool parameters = dweight != nullptr || dbias != nullptr;
  if (e.n == 0) return MILL_OK;
  if (e.rows == 0) {
    if (dweight != nullptr) std::memset(dweight, 0, static_cast<size_t>(e.n) * sizeof(S));
    if (dbias != nullptr) std::memset(dbias, 0, static_cast<size_t>(e.n) * sizeof(S));
    return MILL_OK;
  }
  const uint64_t needed = layer_norm_backward_workspace<S>(args);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  C* partial = static_cast<C*>(args->workspace);
  const Chunks chunks = chunks_of(e.rows);
  parallel(args, chunks.count, grain_of(2 * e.n * chunks.rows), [=](int64_t begin, int64_t end) {
    OutRows<S> rows(e.rows, e.n);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      C* weight_sum = partial + 2 * chunk * e.n;
      if (parameters) std::memset(weight_sum, 0, 2 * static_cast<size_t>(e.n) * sizeof(C));
      const int64_t first = chunk * chunks.rows;
      for (int64_t r = first; r < smaller(first + chunks.rows, e.rows); ++r) {
        if (k.dx != nullptr) {
          backward_dx<S, Centred>(k, r, rows.at(k.dx + r * e.n));
          rows.done(k.dx + r * e.n);
        }
        if (parameters) add_parameters(k, r, weight_sum, weight_sum + e.n);
      }
    }
  });
  if (dweight != nullptr) combine(args, partial, chunks.count, 2 * e.n, dweight, e.n);
  if (dbias != nullptr) combine(args, partial + e.n, chunks.count, 2 * e.n, dbias, e.n);
  return MILL_OK;
}

#define MILL_NORM_ENTRIES(dtype, S)                                               \
  {MILL_OP_LAYER_NORM, bit(dtype), {layer_norm<S, false, true>, nullptr}},        \
      {MILL_OP_ADD_LAYER_NORM, bit(dtype), {layer_norm<S, true, true>, nullptr}}, \
      {MILL_OP_RMS_NORM, bit(dtype), {layer_norm<S, false, false>, nullptr}},     \
      {MILL_OP_LAYER_NORM_BACKWARD,                                               \
       bit(dtype),                                                                \
       {layer_norm_backward<S, true>, layer_norm_backward_workspace<S>}},         \
  {                                                                               \
    MILL_OP_RMS_NORM_BACKWARD, bit(dtype), {                                      \
      layer_norm_backward<S, false>, layer_norm_backward_workspace<S>             \
    }                                                                             \
  }

constexpr KernelEntry kEntries[] = {
    MILL_NORM_ENTRIES(MILL_F32, float), MILL_NORM_ENTRIES(MILL_F64, double),
    MILL_NORM_ENTRIES(MILL_BF16, bf16), MILL_NORM_ENTRIES(MILL_F16, f16)};
#undef MILL_NORM_ENTRIES

}  // namespace

KernelList norm_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
