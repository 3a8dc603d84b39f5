// Row look-up and its gradient.
#include <bit>

#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/ids.inl"
#include "kernels/block/embedding.inl"
#include "kernels/block/block_scan.inl"
#include "kernels/block/embedding_sort.inl"

#include "gpu/families/teams.h"
// clang-format on

// ---- look-up ------------------------------------------------------------------------------------

template <class U, int W>
mill_status gather(const mill_kernel_args* args, int64_t row_bytes) {
  const mill_kernel_tensor* weight = args->in[0];
  const mill_kernel_tensor* ids = args->in[1];
  const int64_t units = row_bytes / static_cast<int64_t>(sizeof(U) * W);
  const int team = team_log2_of(units);
  return launch<gather_rows<kThreads, U, W>>(
      args, team_grid(ids->numel, team), cost{bytes_of(ids) + 2 * bytes_of(args->out[0])},
      ids->numel, weight->dims[0], units, team, static_cast<const void*>(ids->data), ids->dtype,
      data_of<const U>(weight), data_of<U>(args->out[0]), faults_of(args));
}

mill_status embedding(const mill_kernel_args* args) {
  const mill_kernel_tensor* weight = args->in[0];
  const mill_kernel_tensor* ids = args->in[1];
  const mill_status status = check_index_dtype(args, ids, "ids");
  // Without columns the ids are still checked.
  if (status != MILL_OK || ids->numel == 0) return status;
  const int64_t row_bytes = weight->dims[1] * mill::dtype_size(weight->dtype);
  return with_row_unit(row_bytes, weight->data, args->out[0]->data,
                       [&]<class U, int W>() { return gather<U, W>(args, row_bytes); });
}

// ---- gradient -----------------------------------------------------------------------------------

// What the workspace holds and the passes of the sort, with rows and positions of type I and sums
// of type C.
template <class I, class C>
struct BackwardPlan {
  int64_t n;
  int64_t rows;
  int64_t width;
  int64_t tiles;
  int passes;
  int bits;  // of a pass
  uint64_t row_of[2];
  uint64_t order[2];
  uint64_t counts;
  uint64_t totals;
  uint64_t runs;
  uint64_t heads;
  uint64_t tails;
  uint64_t bytes = 0;

  explicit BackwardPlan(const mill_kernel_args* args)
      : n(args->in[1]->numel),
        rows(args->out[0]->dims[0]),
        width(args->out[0]->dims[1]),
        tiles(ceil_div(n, kSortTile)) {
    const auto key_bits =
        static_cast<int64_t>(rows > 1 ? std::bit_width(static_cast<uint64_t>(rows - 1)) : 0u);
    passes = static_cast<int>(ceil_div(key_bits, kSortBits));
    bits = passes == 0 ? 0 : static_cast<int>(ceil_div(key_bits, passes));
    const bool counted = passes > 0 && tiles > 1;
    const int64_t parts = ceil_div(n, kPartPositions);
    row_of[0] = take(n, sizeof(I));
    row_of[1] = take(passes > 0 ? n : 0, sizeof(I));
    order[0] = take(passes > 1 ? n : 0, sizeof(I));
    order[1] = take(passes > 0 ? n : 0, sizeof(I));
    counts = take(counted ? tiles << bits : 0, sizeof(I));
    totals = take(counted ? int64_t{1} << bits : 0, sizeof(I));
    runs = take(rows, sizeof(row_run<I>));
    heads = take(parts > 1 ? parts * width : 0, sizeof(C));
    tails = take(parts > 1 ? parts * width : 0, sizeof(C));
  }

  template <class T>
  T* at(const mill_kernel_args* args, uint64_t offset) const {
    return reinterpret_cast<T*>(static_cast<char*>(args->workspace) + offset);
  }

 private:
  uint64_t take(int64_t count, uint64_t each) {
    constexpr uint64_t kAlign = 256;
    const uint64_t at = bytes;
    bytes += (static_cast<uint64_t>(count) * each + kAlign - 1) / kAlign * kAlign;
    return at;
  }
};

// call.operator()<I>() with the smallest type that holds every row and position.
template <class F>
mill_status with_index(const mill_kernel_args* args, F&& call) {
  if (larger(args->in[1]->numel, args->out[0]->dims[0]) <= int64_t{UINT32_MAX})
    return call.template operator()<uint32_t>();
  return call.template operator()<uint64_t>();
}

// One pass from buffers k % 2 to the others; the first one's order is the positions' own.
template <class I, class C>
mill_status sort_pass_of(const mill_kernel_args* args, const BackwardPlan<I, C>& plan, int k) {
  const sort_pass pass{plan.n, plan.tiles, k * plan.bits, plan.bits};
  const int from = k % 2;
  const I* rows = plan.template at<I>(args, plan.row_of[from]);
  const I* order = k == 0 ? nullptr : plan.template at<I>(args, plan.order[from]);
  I* rows_out = plan.template at<I>(args, plan.row_of[1 - from]);
  I* order_out = plan.template at<I>(args, plan.order[1 - from]);
  const auto list = static_cast<uint64_t>(plan.n) * sizeof(I);
  const shape grid{plan.tiles, kSortThreads};
  if (plan.tiles == 1) {
    return launch<sort_move<kSortThreads, I>>(args, grid, cost{4 * list}, pass, rows, order,
                                              static_cast<const I*>(nullptr),
                                              static_cast<const I*>(nullptr), rows_out, order_out);
  }
  I* counts = plan.template at<I>(args, plan.counts);
  I* totals = plan.template at<I>(args, plan.totals);
  const auto table = static_cast<uint64_t>(plan.tiles << plan.bits) * sizeof(I);
  mill_status status =
      launch<sort_count<kSortThreads, I>>(args, grid, cost{list + table}, pass, rows, counts);
  if (status != MILL_OK) return status;
  status = launch<sort_scan<kSortThreads, I>>(args, {int64_t{1} << plan.bits, kSortThreads},
                                              cost{2 * table}, plan.tiles, counts, totals);
  if (status != MILL_OK) return status;
  return launch<sort_move<kSortThreads, I>>(args, grid, cost{4 * list + table}, pass, rows, order,
                                            static_cast<const I*>(counts),
                                            static_cast<const I*>(totals), rows_out, order_out);
}

template <class T, int W, class I>
mill_status add_rows(const mill_kernel_args* args, const BackwardPlan<I, acc_t<T>>& plan) {
  using C = acc_t<T>;
  auto* runs = plan.template at<row_run<I>>(args, plan.runs);
  auto* heads = plan.template at<C>(args, plan.heads);
  auto* tails = plan.template at<C>(args, plan.tails);
  auto* out = data_of<T>(args->out[0]);
  const int team = team_log2_of(ceil_div(plan.width, W));
  if (plan.n > 0) {
    const int last = plan.passes % 2;
    const I* rows = plan.template at<I>(args, plan.row_of[last]);
    const I* order = plan.passes == 0 ? nullptr : plan.template at<I>(args, plan.order[last]);
    const mill_status status = launch<add_parts<kThreads, T, W, I>>(
        args, team_grid(ceil_div(plan.n, kPartPositions), team),
        cost{bytes_of(args->in[0]) + 2 * static_cast<uint64_t>(plan.n) * sizeof(I),
             static_cast<uint64_t>(args->in[0]->numel), sizeof(C) == 8 ? unit::f64 : unit::f32},
        plan.n, plan.width, team, rows, order, data_of<const T>(args->in[0]), out, heads, tails,
        runs);
    if (status != MILL_OK) return status;
  }
  return launch<finish_rows<kThreads, T, W, I>>(
      args, team_grid(plan.rows, team), cost{bytes_of(args->out[0])}, plan.rows, plan.width, team,
      static_cast<const row_run<I>*>(runs), static_cast<const C*>(heads),
      static_cast<const C*>(tails), out);
}

template <class I>
mill_status read_all_ids(const mill_kernel_args* args, I* row_of, int64_t n_runs,
                         row_run<I>* runs) {
  const mill_kernel_tensor* ids = args->in[1];
  const uint64_t written = (row_of ? static_cast<uint64_t>(ids->numel) * sizeof(I) : 0) +
                           static_cast<uint64_t>(n_runs) * sizeof(row_run<I>);
  return launch<read_ids<kThreads, I>>(args, {blocks_for(larger(ids->numel, n_runs)), kThreads},
                                       cost{bytes_of(ids) + written}, ids->numel,
                                       args->out[0]->dims[0], static_cast<const void*>(ids->data),
                                       ids->dtype, faults_of(args), row_of, n_runs, runs);
}

uint64_t embedding_backward_workspace(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  if (args->out[0]->numel == 0) return bytes;
  with_float(args->in[0]->dtype, [&]<class T>() {
    return with_index(args, [&]<class I>() {
      bytes = BackwardPlan<I, acc_t<T>>(args).bytes;
      return MILL_OK;
    });
  });
  return bytes;
}

mill_status embedding_backward(const mill_kernel_args* args) {
  const mill_kernel_tensor* ids = args->in[1];
  const mill_kernel_tensor* out = args->out[0];
  const mill_status status = check_index_dtype(args, ids, "ids");
  if (status != MILL_OK) return status;
  if (out->numel == 0) {
    // Without a result the ids are still checked.
    return ids->numel == 0 ? MILL_OK : read_all_ids<uint32_t>(args, nullptr, 0, nullptr);
  }
  const uint64_t needed = embedding_backward_workspace(args);
  if (args->workspace_bytes < needed) {
    return refuse(args, MILL_E_INTERNAL, "the kernel needs %llu bytes of workspace and got %llu",
                  static_cast<unsigned long long>(needed),
                  static_cast<unsigned long long>(args->workspace_bytes));
  }
  return with_float(out->dtype, [&]<class T>() {
    return with_index(args, [&]<class I>() {
      const BackwardPlan<I, acc_t<T>> plan(args);
      mill_status done = read_all_ids(args, plan.template at<I>(args, plan.row_of[0]), plan.rows,
                                      plan.template at<row_run<I>>(args, plan.runs));
      if (plan.n > 0) {
        for (int k = 0; k < plan.passes && done == MILL_OK; ++k) done = sort_pass_of(args, plan, k);
      }
      if (done != MILL_OK) return done;
      // More than 2^32 positions have short rows.
      if constexpr (sizeof(I) == 4) {
        constexpr int W = static_cast<int>(16 / sizeof(T));
        if (plan.width % W == 0 && aligned(args->in[0]->data, 16) && aligned(out->data, 16))
          return add_rows<T, W, I>(args, plan);
      }
      return add_rows<T, 1, I>(args, plan);
    });
  });
}

constexpr uint32_t kAllBits = (1u << MILL_DTYPE_COUNT) - 2u;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_EMBEDDING, kAllBits, {embedding, nullptr}},
    {MILL_OP_EMBEDDING_BACKWARD, kFloatBits, {embedding_backward, embedding_backward_workspace}},
};

}  // namespace

KernelList embedding_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
