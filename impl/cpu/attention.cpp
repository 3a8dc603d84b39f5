// Attention and its gradient in tiles of 64 queries by 64 keys: no matrix of scores is ever in
// memory, and workspace grows with the length of the sequences alone. A task is one head of the
// keys with the heads of the queries that share it, or a range of their queries.
#include "cpu/attention_backward.h"
#include "cpu/attention_tiles.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// ---- forward ------------------------------------------------------------------------------------

template <class T>
struct ForwardMemory {
  T* keys;    // packed as columns
  T* values;  // rows, where they cannot be read in place
  T* queries;
  T* scores;
  T* out;
  int64_t query_pitch, value_pitch;
  int64_t total;

  ForwardMemory(const Shape& s, T* at) {
    Carver<T> carve{at, 0};
    query_pitch = padded(s.width, kVector<T>) + kRowGap;
    value_pitch = padded(s.value_width, kVector<T>);
    keys = carve.take(padded(s.keys, kPanel<T>) * s.width);
    values = carve.take(s.keys * value_pitch);
    queries = carve.take(kTileQueries * query_pitch);
    scores = carve.take(kTileQueries * kTileKeys);
    out = carve.take(kTileQueries * value_pitch);
    total = carve.used;
  }
};

// Ranges that the queries of a head are cut into, so that every thread has a task.
int64_t cuts_of(const mill_kernel_args* args, const Shape& s) {
  const int64_t threads = args->host == nullptr ? 1 : static_cast<int64_t>(args->host->threads);
  const int64_t heads = larger<int64_t>(1, s.batch * s.key_heads);
  if (heads >= threads) return 1;
  return smaller(ceil_div(threads, heads),
                 larger<int64_t>(1, ceil_div(s.queries, 2 * kTileQueries)));
}

// The running softmax of one query.
template <class T>
struct Running {
  T top;
  Wide<T> sum;
};

// Scores become e^(score - top) and the row's state takes them in. Returns by how much what was
// summed before shrinks.
template <class T>
MILL_INLINE T take_scores(T* row, int64_t n, int64_t all, Running<T>* state) {
  const Tag<T> d;
  const T low = -static_cast<T>(__builtin_huge_val());
  const T top = n == 0 ? low : largest(d, row, n);
  const T next = top > state->top ? top : state->top;
  const T shift = next == low ? T(0) : next;
  const Vec<Tag<T>> shifts = hn::Set(d, shift);
  const auto sum = sum_terms(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    const Vec<Tag<T>> x = get(d, row + i, part);
    // The least argument of the exponential is not -infinity, and hidden keys are exactly nothing.
    const Vec<Tag<T>> e =
        hn::IfThenZeroElse(hn::Eq(x, hn::Set(d, -static_cast<T>(__builtin_huge_val()))),
                           exp_below_zero(d, hn::Sub(x, shifts)));
    put(d, e, row + i, part);
    return e;
  });
  for (int64_t c = n; c < all; ++c) row[c] = 0;
  const T shrink = next == state->top ? T(1) : static_cast<T>(std::exp(state->top - shift));
  state->sum = state->sum * static_cast<Wide<T>>(shrink) + static_cast<Wide<T>>(sum);
  state->top = next;
  return shrink;
}

// The queries [first, first + n) of one head.
template <class S, class T>
void attend(const Shape& s, const Sight<S>& sight, const Rows<S>& q, const ForwardMemory<T>& m,
            const RightSide<T>& values, T scale, int64_t first, int64_t n, S* out, int64_t out_row,
            int64_t out_col, T* lse, int64_t lse_step) {
  Running<T> state[kTileQueries];
  for (int64_t r = 0; r < n; ++r) state[r] = {-static_cast<T>(__builtin_huge_val()), 0};
  copy_rows(q, first, n, scale, m.queries, m.query_pitch);
  const int64_t end = sight.end(first + n - 1);
  for (int64_t r = 0; r < n && end == 0; ++r) {
    for (int64_t i = 0; i < s.value_width; ++i) m.out[r * m.value_pitch + i] = 0;
  }
  for (int64_t key = 0; key < end; key += kTileKeys) {
    const int64_t here = smaller(kTileKeys, end - key);
    multiply(n, here, s.width, m.queries, m.query_pitch,
             {m.keys + key * s.width, kPanel<T>, kPanel<T> * s.width}, m.scores, kTileKeys, false);
    for (int64_t r = 0; r < n; ++r) {
      T* row = m.scores + r * kTileKeys;
      const int64_t seen = larger<int64_t>(0, smaller(here, sight.end(first + r) - key));
      edit_scores(sight, first + r, key, seen, row);
      const T shrink = take_scores(row, seen, here, &state[r]);
      if (key > 0 && shrink != T(1)) scale_row(m.out + r * m.value_pitch, s.value_width, shrink);
    }
    multiply(n, s.value_width, here, m.scores, kTileKeys,
             {values.data + key * values.row, values.row, values.panel_step}, m.out, m.value_pitch,
             key > 0);
  }
  for (int64_t r = 0; r < n; ++r) {
    const Running<T>& at = state[r];
    T* row = m.out + r * m.value_pitch;
    scale_row(row, s.value_width, at.sum == 0 ? T(0) : static_cast<T>(1 / at.sum));
    if (lse != nullptr)
      lse[(first + r) * lse_step] = at.sum == 0
                                        ? -static_cast<T>(__builtin_huge_val())
                                        : static_cast<T>(static_cast<Wide<T>>(at.top) +
                                                         static_cast<Wide<T>>(std::log(at.sum)));
  }
  gemm::unpack<S>(m.out, m.value_pitch, n, s.value_width, out + first * out_row, out_row, out_col,
                  false);
}

template <class S>
uint64_t attention_workspace(const mill_kernel_args* args) {
  using T = Compute<S>;
  const Shape s = shape_of(*args->in[0], *args->in[1], *args->in[2]);
  const int64_t tasks = s.batch * s.key_heads * cuts_of(args, s);
  const ForwardMemory<T> memory(s, nullptr);
  return static_cast<uint64_t>(slots_of(args, tasks) * memory.total) * sizeof(T);
}

template <class S>
mill_status attention(const mill_kernel_args* args) {
  using T = Compute<S>;
  const mill_kernel_tensor& q = *args->in[0];
  const mill_kernel_tensor& k = *args->in[1];
  const mill_kernel_tensor& v = *args->in[2];
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor* lse = output(args, 1);
  const Shape s = shape_of(q, k, v);
  const mill_status status = check_lengths(args, input(args, 5), s.keys);
  if (status != MILL_OK || s.batch * s.heads * s.queries == 0) return status;
  const int64_t cuts = cuts_of(args, s);
  const int64_t tasks = s.batch * s.key_heads * cuts;
  const int64_t piece = ForwardMemory<T>(s, nullptr).total;
  const auto scale = static_cast<T>(args->attr[2].f);
  const double work = static_cast<double>(s.batch * s.heads * s.queries) *
                      static_cast<double>(s.keys * (s.width + s.value_width));
  return each_task<T>(args, tasks, work, piece, [&, scale, cuts](int64_t task, T* memory) {
    const ForwardMemory<T> m(s, memory);
    const int64_t pair = task / cuts;
    const int64_t cut = task % cuts;
    const int64_t batch = pair / s.key_heads;
    const int64_t key_head = pair % s.key_heads;
    const Rows<S> values = rows_of<S>(v, batch, key_head);
    pack_columns(rows_of<S>(k, batch, key_head), 0, s.keys, m.keys);
    RightSide<T> right{m.values, m.value_pitch, kPanel<T>};
    if (lies_ready<S, T>(values)) {
      right = {reinterpret_cast<const T*>(values.data), values.row, kPanel<T>};
    } else {
      copy_rows(values, 0, s.keys, T(1), m.values, m.value_pitch);
    }
    const int64_t tiles = ceil_div(s.queries, kTileQueries);
    for (int64_t member = 0; member < s.group; ++member) {
      const int64_t head = key_head * s.group + member;
      const Sight<S> sight = sight_of<S>(args, 3, s.keys, batch, head);
      S* to = static_cast<S*>(out.data) + batch * out.strides[0] + head * out.strides[1];
      T* to_lse = lse == nullptr ? nullptr
                                 : static_cast<T*>(lse->data) + batch * lse->strides[0] +
                                       head * lse->strides[1];
      for (int64_t tile = tiles * cut / cuts; tile < tiles * (cut + 1) / cuts; ++tile) {
        const int64_t first = tile * kTileQueries;
        attend(s, sight, rows_of<S>(q, batch, head), m, right, scale, first,
               smaller(kTileQueries, s.queries - first), to, out.strides[2], out.strides[3], to_lse,
               lse == nullptr ? 0 : lse->strides[2]);
      }
    }
  });
}

#define MILL_ATTENTION_ENTRIES(dtype, S)                                     \
  {MILL_OP_ATTENTION, bit(dtype), {attention<S>, attention_workspace<S>}}, { \
    MILL_OP_ATTENTION_BACKWARD, bit(dtype), {                                \
      attention_backward<S>, attention_backward_workspace<S>                 \
    }                                                                        \
  }

constexpr KernelEntry kEntries[] = {
    MILL_ATTENTION_ENTRIES(MILL_F32, float), MILL_ATTENTION_ENTRIES(MILL_F64, double),
    MILL_ATTENTION_ENTRIES(MILL_BF16, bf16), MILL_ATTENTION_ENTRIES(MILL_F16, f16)};
#undef MILL_ATTENTION_ENTRIES

}  // namespace

KernelList attention_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
