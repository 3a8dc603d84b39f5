// Elements in order along an axis.
#include <bit>

#include "gpu/families/common.h"
#include "kernels/sort_key.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/block_scan.inl"
#include "kernels/block/embedding_sort.inl"
#include "kernels/block/order.inl"
// clang-format on

using mill::kernels::sort_key;
using mill::kernels::SortKey;

// What sort and topk have in common.
struct Order {
  order_lines lines;
  bool descending;

  // all: of sort, else of topk.
  Order(const mill_kernel_args* args, bool all) {
    const mill_kernel_tensor* x = args->in[0];
    const auto axis = static_cast<int32_t>(args->attr[all ? 0 : 1].i);
    lines.n = x->dims[axis];
    lines.k = all ? lines.n : args->attr[0].i;
    lines.inner = product(x, axis + 1, x->rank);
    lines.lines = product(x, 0, axis) * lines.inner;
    descending = args->attr[all ? 1 : 2].i != 0;
  }
  bool empty() const { return lines.lines * lines.k == 0; }
  bool is_short() const { return lines.n <= kOrderShort; }
  // A block for each line, which pays unless the lines are few and very long.
  bool selects() const {
    constexpr int64_t kLong = 1 << 18;
    constexpr int64_t kMany = 64;
    return lines.k <= kOrderShort && lines.n <= int64_t{INT32_MAX} - kThreads &&
           (lines.n <= kLong || lines.lines >= kMany);
  }
  int64_t total() const { return lines.lines * lines.n; }
};

// call.operator()<K>() with the unsigned integer of the elements' size.
template <class F>
mill_status with_key(int32_t dtype, F&& call) {
  switch (mill::dtype_size(dtype)) {
    case 1: return call.template operator()<uint8_t>();
    case 2: return call.template operator()<uint16_t>();
    case 4: return call.template operator()<uint32_t>();
    default: return call.template operator()<uint64_t>();
  }
}

cost order_cost(const mill_kernel_args* args) {
  return {bytes_of(args->in[0]) + bytes_of(output(args, 0)) + bytes_of(output(args, 1))};
}

template <class K>
mill_status sort_short(const mill_kernel_args* args, const Order& order) {
  const order_lines& g = order.lines;
  const int log2 = g.n <= 1 ? 0 : static_cast<int>(std::bit_width(static_cast<uint64_t>(g.n - 1)));
  const int64_t most = kOrderShort >> log2;
  const int64_t pairs = (smaller(most, g.lines) << log2) / 2;
  const auto threads = static_cast<int>(smaller<int64_t>(kThreads, ceil_div(pairs, kWarp) * kWarp));
  return launch<order_short<kThreads, K>>(
      args, {blocks_for(g.lines, static_cast<int>(most)), larger(threads, kWarp)}, order_cost(args),
      g, log2, sort_key<K>(args->in[0]->dtype, order.descending), data_of<const K>(args->in[0]),
      data_of<K>(output(args, 0)), data_of<int64_t>(output(args, 1)));
}

template <class K>
mill_status select(const mill_kernel_args* args, const Order& order) {
  const order_lines& g = order.lines;
  const int log2 = g.k <= 1 ? 0 : static_cast<int>(std::bit_width(static_cast<uint64_t>(g.k - 1)));
  return launch<order_select<kThreads, K>>(
      args, {smaller<int64_t>(g.lines, 1 << 16), kThreads}, order_cost(args), g, log2,
      sort_key<K>(args->in[0]->dtype, order.descending), data_of<const K>(args->in[0]),
      data_of<K>(output(args, 0)), data_of<int64_t>(output(args, 1)));
}

// ---- long lines ---------------------------------------------------------------------------------

// What the workspace holds: keys and positions twice, and the counts of a pass.
template <class I>
struct OrderPlan {
  int64_t total;
  int64_t tiles;
  uint64_t keys[2];
  uint64_t order[2];
  uint64_t counts;
  uint64_t totals;
  uint64_t bytes = 0;

  explicit OrderPlan(int64_t elements) : total(elements), tiles(ceil_div(elements, kSortTile)) {
    for (int i = 0; i < 2; ++i) {
      keys[i] = take(total);
      order[i] = take(total);
    }
    counts = take(tiles << kSortBits);
    totals = take(int64_t{1} << kSortBits);
  }

  I* at(const mill_kernel_args* args, uint64_t offset) const {
    return reinterpret_cast<I*>(static_cast<char*>(args->workspace) + offset);
  }

 private:
  uint64_t take(int64_t count) {
    constexpr uint64_t kAlign = 256;
    const uint64_t from = bytes;
    bytes += (static_cast<uint64_t>(count) * sizeof(I) + kAlign - 1) / kAlign * kAlign;
    return from;
  }
};

// Sorts by `bits` bits of the keys in half *from, which it moves on. fresh: the positions are still
// their own.
template <class I>
mill_status sort_by(const mill_kernel_args* args, const OrderPlan<I>& plan, int bits, bool fresh,
                    int* from) {
  const auto list = static_cast<uint64_t>(plan.total) * sizeof(I);
  const auto table = static_cast<uint64_t>(plan.tiles << kSortBits) * sizeof(I);
  const shape grid{plan.tiles, kSortThreads};
  I* counts = plan.at(args, plan.counts);
  I* totals = plan.at(args, plan.totals);
  for (int shift = 0; shift < bits; shift += kSortBits) {
    const sort_pass pass{plan.total, plan.tiles, shift, smaller(kSortBits, bits - shift)};
    const I* keys = plan.at(args, plan.keys[*from]);
    const I* order = fresh && shift == 0 ? nullptr : plan.at(args, plan.order[*from]);
    mill_status status =
        launch<sort_count<kSortThreads, I>>(args, grid, cost{list + table}, pass, keys, counts);
    if (status != MILL_OK) return status;
    status = launch<sort_scan<kSortThreads, I>>(args, {int64_t{1} << pass.bits, kSortThreads},
                                                cost{2 * table}, plan.tiles, counts, totals);
    if (status != MILL_OK) return status;
    status = launch<sort_move<kSortThreads, I>>(
        args, grid, cost{4 * list + table}, pass, keys, order, static_cast<const I*>(counts),
        static_cast<const I*>(totals), plan.at(args, plan.keys[1 - *from]),
        plan.at(args, plan.order[1 - *from]));
    if (status != MILL_OK) return status;
    *from = 1 - *from;
  }
  return MILL_OK;
}

template <class K, class I>
mill_status sort_long(const mill_kernel_args* args, const Order& order) {
  const order_lines& g = order.lines;
  const OrderPlan<I> plan(order.total());
  if (args->workspace_bytes < plan.bytes) {
    return refuse(args, MILL_E_INTERNAL, "the kernel needs %llu bytes of workspace and got %llu",
                  static_cast<unsigned long long>(plan.bytes),
                  static_cast<unsigned long long>(args->workspace_bytes));
  }
  const mill_kernel_tensor* x = args->in[0];
  const auto list = static_cast<uint64_t>(plan.total) * sizeof(I);
  int from = 0;
  mill_status status = launch<order_keys<kThreads, K, I>>(
      args, {blocks_for(plan.total), kThreads}, cost{bytes_of(x) + list}, g,
      sort_key<K>(x->dtype, order.descending), data_of<const K>(x), plan.at(args, plan.keys[0]));
  if (status == MILL_OK) status = sort_by(args, plan, 8 * static_cast<int>(sizeof(K)), true, &from);
  if (status == MILL_OK && g.lines > 1) {
    status = launch<order_by_line<kThreads, I>>(
        args, {blocks_for(plan.total), kThreads}, cost{2 * list}, plan.total, g.n,
        static_cast<const I*>(plan.at(args, plan.order[from])), plan.at(args, plan.keys[from]));
    const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(g.lines - 1)));
    if (status == MILL_OK) status = sort_by(args, plan, bits, false, &from);
  }
  if (status != MILL_OK) return status;
  return launch<order_write<kThreads, K, I>>(
      args, {blocks_for(g.lines * g.k), kThreads}, order_cost(args), g,
      static_cast<const I*>(plan.at(args, plan.order[from])), data_of<const K>(x),
      data_of<K>(output(args, 0)), data_of<int64_t>(output(args, 1)));
}

// Whether 32 bits hold a key and a position.
bool fits_32(const mill_kernel_args* args, const Order& order) {
  return mill::dtype_size(args->in[0]->dtype) <= 4 && order.total() <= int64_t{UINT32_MAX};
}

template <bool kAll>
uint64_t order_workspace(const mill_kernel_args* args) {
  const Order order(args, kAll);
  if (order.empty() || order.is_short() || order.selects()) return 0;
  return fits_32(args, order) ? OrderPlan<uint32_t>(order.total()).bytes
                              : OrderPlan<uint64_t>(order.total()).bytes;
}

template <bool kAll>
mill_status order_along(const mill_kernel_args* args) {
  const Order order(args, kAll);
  if (order.empty()) return MILL_OK;
  return with_key(args->in[0]->dtype, [&]<class K>() {
    if (order.is_short()) return sort_short<K>(args, order);
    if (order.selects()) return select<K>(args, order);
    if constexpr (sizeof(K) <= 4) {
      if (fits_32(args, order)) return sort_long<K, uint32_t>(args, order);
    }
    return sort_long<K, uint64_t>(args, order);
  });
}

constexpr uint32_t kBits = kFloatBits | mill::dtype_bit(MILL_U8) | mill::dtype_bit(MILL_I8) |
                           mill::dtype_bit(MILL_I16) | mill::dtype_bit(MILL_I32) |
                           mill::dtype_bit(MILL_I64);

constexpr KernelEntry kEntries[] = {
    {MILL_OP_SORT, kBits, {order_along<true>, order_workspace<true>}},
    {MILL_OP_TOPK, kBits, {order_along<false>, order_workspace<false>}},
};

}  // namespace

KernelList order_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
