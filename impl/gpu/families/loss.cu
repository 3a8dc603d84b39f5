// Cross entropy from logits over the last axis, and its fused gradient.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/rows.inl"

#include "gpu/families/rows.h"

#include "kernels/block/loss.inl"

loss_options options_of(const mill_kernel_args* args, const mill_kernel_tensor* labels) {
  return {args->attr[1].f, args->attr[2].i, static_cast<int32_t>(args->attr[0].i), labels->dtype};
}

int64_t classes_of(const mill_kernel_tensor* logits) {
  return logits->dims[logits->rank - 1];
}

// ---- loss ---------------------------------------------------------------------------------------

// Enough to fill a large device several times over with the smallest blocks.
constexpr int64_t kMostLossBlocks = 2048;

// The workspace: stats of the parts of long rows, then what the blocks' rows add up to.
template <class T>
struct LossPlan {
  int64_t rows;
  int64_t n;
  int64_t parts;  // of a row; 0 where a team keeps it
  uint64_t stats_bytes;
  uint64_t bytes;

  LossPlan(const mill_kernel_args* args)
      : rows(args->in[1]->numel),
        n(classes_of(args->in[0])),
        parts(n > kTeamRow<T> ? ceil_div(n, kPartRow<T>) : 0),
        stats_bytes(static_cast<uint64_t>(rows * parts) * sizeof(loss_stats<acc_t<T>>)),
        bytes(stats_bytes) {
    if (args->attr[0].i != kReduceNone)
      bytes += static_cast<uint64_t>(smaller(larger<int64_t>(1, rows), kMostLossBlocks)) *
               sizeof(loss_sum);
  }
};

uint64_t cross_entropy_workspace(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  with_float(args->in[0]->dtype, [&]<class T>() {
    bytes = LossPlan<T>(args).bytes;
    return MILL_OK;
  });
  return bytes;
}

template <int Team>
shape loss_shape(int64_t rows) {
  shape s = team_shape<Team>(rows);
  s.grid = smaller(s.grid, kMostLossBlocks);
  return s;
}

template <class T>
mill_status cross_entropy_as(const mill_kernel_args* args) {
  using C = acc_t<T>;
  const mill_kernel_tensor* logits = args->in[0];
  const mill_kernel_tensor* labels = args->in[1];
  mill_status status = check_index_dtype(args, labels, "labels");
  if (status != MILL_OK) return status;
  const LossPlan<T> plan(args);
  const loss_options o = options_of(args, labels);
  const auto* x = data_of<const T>(logits);
  const void* ids = labels->data;
  auto* loss = data_of<C>(output(args, 0));
  auto* lse = data_of<C>(output(args, 1));
  auto* stats = static_cast<loss_stats<C>*>(args->workspace);
  auto* partial =
      reinterpret_cast<loss_sum*>(static_cast<unsigned char*>(args->workspace) + plan.stats_bytes);
  fault_slot* faults = faults_of(args);
  const auto numel = static_cast<uint64_t>(logits->numel);
  const bool vectors = rows_aligned(plan.n, x);
  int64_t blocks = 0;
  if (plan.rows > 0 && plan.parts == 0) {
    const cost c = cost_of<T>(bytes_of(logits) + bytes_of(labels), 5 * numel);
    status = with_team<T>(plan.n, vectors, [&]<int Team, int W, int Items>() {
      const shape grid = loss_shape<Team>(plan.rows);
      blocks = grid.grid;
      return launch<cross_entropy_rows<T, Team, W, Items>>(args, grid, c, o, plan.rows,
                                                           static_cast<int>(plan.n), x, ids, faults,
                                                           loss, lse, partial);
    });
  } else if (plan.rows > 0) {
    status = with_part<T>(vectors, [&]<int W>() {
      return launch<cross_entropy_part<T, kPartThreads, W, kRowItems<T>>>(
          args, {plan.rows * plan.parts, kPartThreads}, cost_of<T>(bytes_of(logits), 5 * numel),
          plan.n, plan.parts, x, stats);
    });
    if (status != MILL_OK) return status;
    const shape grid = loss_shape<kWarp>(plan.rows);
    blocks = grid.grid;
    status = launch<cross_entropy_join<T>>(
        args, grid, cost_of<T>(plan.stats_bytes + bytes_of(labels), 0), o, plan.rows, plan.n,
        kPartRow<T>, plan.parts, stats, x, ids, faults, loss, lse, partial);
  }
  if (status != MILL_OK || o.reduction == kReduceNone || loss == nullptr) return status;
  const int threads = blocks > 32 ? kThreads : 32;
  return launch<cross_entropy_total<C, kThreads>>(
      args, {1, threads}, cost{static_cast<uint64_t>(blocks) * sizeof(loss_sum)},
      o.reduction == kReduceMean, blocks, partial, loss);
}

mill_status cross_entropy(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class T>() { return cross_entropy_as<T>(args); });
}

// ---- gradient -----------------------------------------------------------------------------------

// Blocks that count labels. Their counts lie behind the total.
constexpr int64_t kLabelsOfBlock = 16384;
int64_t counting_blocks(int64_t rows) {
  return smaller<int64_t>(ceil_div(rows, kLabelsOfBlock), 512);
}

uint64_t cross_entropy_backward_workspace(const mill_kernel_args* args) {
  if (args->attr[0].i != kReduceMean) return 0;
  const int64_t blocks = counting_blocks(args->in[2]->numel);
  return static_cast<uint64_t>(1 + (blocks > 1 ? blocks : 0)) * sizeof(int64_t);
}

mill_status count(const mill_kernel_args* args, const loss_options& o,
                  const mill_kernel_tensor* labels, int64_t* total) {
  const int64_t rows = labels->numel;
  const int64_t blocks = counting_blocks(rows);
  const int64_t size = ceil_div(rows, blocks);
  const void* ids = labels->data;
  const int64_t* none = nullptr;
  int64_t* counts = blocks > 1 ? total + 1 : total;
  const cost c{bytes_of(labels)};
  if (blocks == 1 && rows <= 512)
    return launch<count_labels<32>>(args, {1, 32}, c, o, rows, size, ids, none, 0, counts);
  const mill_status status =
      launch<count_labels<256>>(args, {blocks, 256}, c, o, rows, size, ids, none, 0, counts);
  if (status != MILL_OK || blocks == 1) return status;
  return launch<count_labels<256>>(args, {1, 256},
                                   cost{static_cast<uint64_t>(blocks) * sizeof(int64_t)}, o, rows,
                                   size, ids, static_cast<const int64_t*>(counts), blocks, total);
}

template <class T>
mill_status cross_entropy_backward_as(const mill_kernel_args* args) {
  using C = acc_t<T>;
  const mill_kernel_tensor* logits = args->in[1];
  const mill_kernel_tensor* labels = args->in[2];
  mill_status status = check_index_dtype(args, labels, "labels");
  if (status != MILL_OK || args->out[0]->numel == 0) return status;
  const loss_options o = options_of(args, labels);
  int64_t* counted = nullptr;
  if (o.reduction == kReduceMean) {
    counted = static_cast<int64_t*>(args->workspace);
    status = count(args, o, labels, counted);
    if (status != MILL_OK) return status;
  }
  const int64_t n = classes_of(logits);
  const auto* g = data_of<const C>(args->in[0]);
  const auto* x = data_of<const T>(logits);
  const auto* lse = data_of<const C>(args->in[3]);
  auto* out = data_of<T>(args->out[0]);
  const cost c =
      cost_of<T>(2 * bytes_of(logits) + bytes_of(labels), 5 * static_cast<uint64_t>(logits->numel));
  return with_part<T>(rows_aligned(n, x) && rows_aligned(n, out), [&]<int W>() {
    return launch<cross_entropy_backward_rows<T, kThreads, W>>(
        args, {blocks_for(logits->numel / W), kThreads}, c, o, labels->numel, n, g, x, labels->data,
        lse, counted, faults_of(args), out);
  });
}

// The gradient is found by the dtype of g, which is f32 for all logits but f64.
mill_status cross_entropy_backward(const mill_kernel_args* args) {
  const int32_t dtype = args->in[1]->dtype;
  if ((args->in[0]->dtype == MILL_F64) != (dtype == MILL_F64) || !is_compute_float(dtype)) {
    return refuse(
        args, MILL_E_DTYPE, "g has dtype number %d, so logits are %s, not dtype number %d",
        args->in[0]->dtype, args->in[0]->dtype == MILL_F64 ? "f64" : "f32, bf16 or f16", dtype);
  }
  return with_float(dtype, [&]<class T>() { return cross_entropy_backward_as<T>(args); });
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_CROSS_ENTROPY, kFloatBits, {cross_entropy, cross_entropy_workspace}},
    {MILL_OP_CROSS_ENTROPY_BACKWARD,
     mill::dtype_bit(MILL_F32) | mill::dtype_bit(MILL_F64),
     {cross_entropy_backward, cross_entropy_backward_workspace}},
};

}  // namespace

KernelList loss_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
