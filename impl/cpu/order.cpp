// Elements in order along an axis of [outer, n, inner]. A task has whole lines. They are sorted by
// keys with their positions, digit by digit from the least significant one, which is stable; of a
// topk only those that a search for the last one's key, from the most significant digit, lets
// through.
#include "cpu/rows.h"
#include "kernels/sort_key.h"

namespace mill::cpu::MILL_TARGET {
namespace {

using kernels::SortKey;

constexpr int64_t kInsertion = 32;  // elements that are put in their places one by one
constexpr int kDigits = 256;

// Keys and positions of a line, twice: sorting goes back and forth.
template <class K, class I>
struct Line {
  K* key[2];
  I* at[2];
};

template <class K, class I>
void insert_each(K* key, I* at, int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    const K k = key[i];
    const I p = at[i];
    int64_t j = i;
    for (; j > 0 && key[j - 1] > k; --j) {
      key[j] = key[j - 1];
      at[j] = at[j - 1];
    }
    key[j] = k;
    at[j] = p;
  }
}

// Sorts what is in the first half; returns which half the result is in.
template <class K, class I>
int sort_line(const Line<K, I>& line, int64_t n) {
  if (n <= kInsertion) {
    insert_each(line.key[0], line.at[0], n);
    return 0;
  }
  constexpr int kPasses = static_cast<int>(sizeof(K));
  int64_t count[kPasses][kDigits] = {};
  for (int64_t i = 0; i < n; ++i) {
    const K k = line.key[0][i];
    for (int p = 0; p < kPasses; ++p) ++count[p][static_cast<uint8_t>(k >> (8 * p))];
  }
  int from = 0;
  for (int p = 0; p < kPasses; ++p) {
    const K* key = line.key[from];
    const I* at = line.at[from];
    // Where all have one digit nothing moves.
    if (count[p][static_cast<uint8_t>(key[0] >> (8 * p))] == n) continue;
    int64_t next[kDigits];
    int64_t sum = 0;
    for (int d = 0; d < kDigits; ++d) {
      next[d] = sum;
      sum += count[p][d];
    }
    K* key_to = line.key[1 - from];
    I* at_to = line.at[1 - from];
    for (int64_t i = 0; i < n; ++i) {
      const int64_t to = next[static_cast<uint8_t>(key[i] >> (8 * p))]++;
      key_to[to] = key[i];
      at_to[to] = at[i];
    }
    from = 1 - from;
  }
  return from;
}

// Picks the k smallest of n keys, 0 < k <= n, in the order of their positions.
template <class K, class I>
void pick(const K* key, int64_t n, int64_t k, K* key_to, I* at_to) {
  K mask = 0;
  K last = 0;        // of the k-th key, the digits found so far
  int64_t rest = k;  // of those whose digits are these
  for (int shift = 8 * static_cast<int>(sizeof(K)) - 8; shift >= 0; shift -= 8) {
    int64_t count[kDigits] = {};
    for (int64_t i = 0; i < n; ++i) {
      if (static_cast<K>(key[i] & mask) == last) ++count[static_cast<uint8_t>(key[i] >> shift)];
    }
    int digit = 0;
    while (rest > count[digit]) rest -= count[digit++];
    last = static_cast<K>(last | static_cast<K>(static_cast<K>(digit) << shift));
    mask = static_cast<K>(mask | static_cast<K>(static_cast<K>(0xff) << shift));
    if (rest == count[digit]) break;  // all of them
  }
  int64_t to = 0;
  for (int64_t i = 0; to < k; ++i) {
    const K part = static_cast<K>(key[i] & mask);
    if (part > last || (part == last && rest == 0)) continue;
    if (part == last) --rest;
    key_to[to] = key[i];
    at_to[to++] = static_cast<I>(i);
  }
}

// What the workspace holds: n keys of every line for a topk, and the lines.
struct Plan {
  int64_t n;
  int64_t k;  // elements of a line in the result
  int64_t inner;
  int64_t lines;
  bool sorts;
  uint64_t keys = 0;
  uint64_t key[2];
  uint64_t at[2];
  uint64_t bytes = 0;

  Plan(const mill_kernel_args* args, int32_t axis, int64_t most, int64_t key_bytes,
       int64_t at_bytes)
      : n(args->in[0]->dims[axis]),
        k(most),
        inner(product(args->in[0], axis + 1, args->in[0]->rank)),
        lines(product(args->in[0], 0, axis) * inner),
        sorts(most == n) {
    if (!sorts) keys = take(n * key_bytes);
    for (int i = 0; i < 2; ++i) {
      key[i] = take(k * key_bytes);
      at[i] = take(k * at_bytes);
    }
  }

 private:
  uint64_t take(int64_t each) {
    constexpr uint64_t kAlign = 64;
    const uint64_t from = bytes;
    bytes += (static_cast<uint64_t>(lines * each) + kAlign - 1) / kAlign * kAlign;
    return from;
  }
};

// What sort and topk have in common.
struct Order {
  int32_t axis;
  int64_t k;
  bool descending;

  // all: of sort, else of topk.
  Order(const mill_kernel_args* args, bool all) {
    axis = static_cast<int32_t>(args->attr[all ? 0 : 1].i);
    k = all ? args->in[0]->dims[axis] : args->attr[0].i;
    descending = args->attr[all ? 1 : 2].i != 0;
  }
  bool wide(const mill_kernel_args* args) const {
    return args->in[0]->dims[axis] > int64_t{UINT32_MAX};
  }
};

template <class K, class I>
mill_status run(const mill_kernel_args* args, const Order& order) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor* out = output(args, 0);
  const mill_kernel_tensor* index = output(args, 1);
  const Plan plan(args, order.axis, order.k, sizeof(K), sizeof(I));
  if (plan.lines * plan.k == 0) return MILL_OK;
  if (args->workspace_bytes < plan.bytes) return refuse_workspace(args, plan.bytes);
  const SortKey<K> form = kernels::sort_key<K>(x.dtype, order.descending);
  const K* from = static_cast<const K*>(x.data);
  K* to = out == nullptr ? nullptr : static_cast<K*>(out->data);
  int64_t* places = index == nullptr ? nullptr : static_cast<int64_t*>(index->data);
  char* space = static_cast<char*>(args->workspace);
  parallel(args, plan.lines, grain_of(8 * plan.n), [=](int64_t begin, int64_t end) {
    for (int64_t l = begin; l < end; ++l) {
      const int64_t outer = l / plan.inner;
      const K* source = from + outer * plan.n * plan.inner + (l - outer * plan.inner);
      Line<K, I> line;
      for (int i = 0; i < 2; ++i) {
        line.key[i] = reinterpret_cast<K*>(space + plan.key[i]) + l * plan.k;
        line.at[i] = reinterpret_cast<I*>(space + plan.at[i]) + l * plan.k;
      }
      K* keys = plan.sorts ? line.key[0] : reinterpret_cast<K*>(space + plan.keys) + l * plan.n;
      for (int64_t i = 0; i < plan.n; ++i) keys[i] = form.of(source[i * plan.inner]);
      if (plan.sorts) {
        for (int64_t i = 0; i < plan.n; ++i) line.at[0][i] = static_cast<I>(i);
      } else {
        pick(keys, plan.n, plan.k, line.key[0], line.at[0]);
      }
      const I* at = line.at[sort_line(line, plan.k)];
      const int64_t first = outer * plan.k * plan.inner + (l - outer * plan.inner);
      for (int64_t i = 0; i < plan.k; ++i) {
        const auto place = static_cast<int64_t>(at[i]);
        if (to != nullptr) to[first + i * plan.inner] = source[place * plan.inner];
        if (places != nullptr) places[first + i * plan.inner] = place;
      }
    }
  });
  return MILL_OK;
}

template <bool kAll>
uint64_t order_workspace(const mill_kernel_args* args) {
  const Order order(args, kAll);
  return Plan(args, order.axis, order.k, dtype_bytes(args->in[0]->dtype),
              order.wide(args) ? sizeof(uint64_t) : sizeof(uint32_t))
      .bytes;
}

template <class K, bool kAll>
mill_status order_lines(const mill_kernel_args* args) {
  const Order order(args, kAll);
  return order.wide(args) ? run<K, uint64_t>(args, order) : run<K, uint32_t>(args, order);
}

constexpr uint32_t kBytes1 = bit(MILL_U8) | bit(MILL_I8);
constexpr uint32_t kBytes2 = bit(MILL_I16) | bit(MILL_F16) | bit(MILL_BF16);
constexpr uint32_t kBytes4 = bit(MILL_I32) | bit(MILL_F32);
constexpr uint32_t kBytes8 = bit(MILL_I64) | bit(MILL_F64);

#define MILL_ORDER_ENTRIES(op, all)                                        \
  {op, kBytes1, {order_lines<uint8_t, all>, order_workspace<all>}},        \
      {op, kBytes2, {order_lines<uint16_t, all>, order_workspace<all>}},   \
      {op, kBytes4, {order_lines<uint32_t, all>, order_workspace<all>}}, { \
    op, kBytes8, {                                                         \
      order_lines<uint64_t, all>, order_workspace<all>                     \
    }                                                                      \
  }

constexpr KernelEntry kEntries[] = {MILL_ORDER_ENTRIES(MILL_OP_SORT, true),
                                    MILL_ORDER_ENTRIES(MILL_OP_TOPK, false)};
#undef MILL_ORDER_ENTRIES

}  // namespace

KernelList order_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
