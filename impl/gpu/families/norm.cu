// Layer and RMS normalisation over the last axes, and their gradients by input, weight and bias.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/rows.inl"

#include "gpu/families/rows.h"

#include "kernels/block/norm.inl"

struct Extent {
  int64_t rows;
  int64_t n;
};

Extent extent_of(const mill_kernel_tensor* x, int64_t axes) {
  const int32_t first = x->rank - static_cast<int32_t>(axes);
  return {product(x, 0, first), product(x, first, x->rank)};
}

// Parts of a long row, 0 where a team keeps it.
template <class T>
int64_t parts_of(const Extent& e) {
  return e.n > kTeamRow<T> ? ceil_div(e.n, kPartRow<T>) : 0;
}

// ---- forward ------------------------------------------------------------------------------------

uint64_t layer_norm_workspace(const mill_kernel_args* args) {
  const Extent e = extent_of(args->in[0], args->attr[0].i);
  uint64_t bytes = 0;
  with_float(args->in[0]->dtype, [&]<class T>() {
    bytes = static_cast<uint64_t>(e.rows * parts_of<T>(e)) * sizeof(moments<acc_t<T>>);
    return MILL_OK;
  });
  return bytes;
}

// Residual: of the sum of inputs 0 and 1, which is output 1; the other inputs and outputs follow.
// Not centred it is RMS norm, which has neither bias nor mean.
template <class T, bool Residual, bool Centred>
mill_status layer_norm_as(const mill_kernel_args* args) {
  using C = acc_t<T>;
  constexpr uint32_t kMore = Residual ? 1 : 0;
  constexpr uint32_t kRstd = Centred ? 2 + kMore : 1;
  const mill_kernel_tensor* x_tensor = args->in[0];
  const Extent e = extent_of(x_tensor, args->attr[0].i);
  if (e.rows == 0) return MILL_OK;
  const auto eps = static_cast<C>(args->attr[1].f);
  const auto* x = data_of<const T>(x_tensor);
  const auto* residual = Residual ? data_of<const T>(input(args, 1)) : nullptr;
  const auto* weight = data_of<const T>(input(args, 1 + kMore));
  const auto* bias = Centred ? data_of<const T>(input(args, 2 + kMore)) : nullptr;
  auto* out = data_of<T>(args->out[0]);
  auto* sum = Residual ? data_of<T>(output(args, 1)) : nullptr;
  auto* mean = Centred ? data_of<C>(output(args, 1 + kMore)) : nullptr;
  auto* rstd = data_of<C>(output(args, kRstd));
  const bool vectors = rows_aligned(e.n, x) && rows_aligned(e.n, residual) &&
                       rows_aligned(e.n, weight) && rows_aligned(e.n, bias) &&
                       rows_aligned(e.n, out) && rows_aligned(e.n, sum);
  const int64_t parts = parts_of<T>(e);
  const uint64_t read = (1 + kMore) * bytes_of(x_tensor);
  const uint64_t written = bytes_of(args->out[0]) + (sum ? bytes_of(output(args, 1)) : 0);
  const auto numel = static_cast<uint64_t>(x_tensor->numel);
  if (parts == 0) {
    return with_team<T>(e.n, vectors, [&]<int Team, int W, int Items>() {
      return launch<layer_norm_rows<T, Team, W, Items, Residual, Centred>>(
          args, team_shape<Team>(e.rows), cost_of<T>(read + written, 8 * numel), e.rows,
          static_cast<int>(e.n), eps, x, residual, weight, bias, out, sum, mean, rstd);
    });
  }
  auto* found = static_cast<moments<C>*>(args->workspace);
  return with_part<T>(vectors, [&]<int W>() {
    const shape grid{e.rows * parts, kPartThreads};
    const mill_status status =
        launch<layer_norm_part<T, kPartThreads, W, kRowItems<T>, Residual, Centred>>(
            args, grid, cost_of<T>(read, 4 * numel), e.n, parts, x, residual, found);
    if (status != MILL_OK) return status;
    return launch<layer_norm_apply<T, kPartThreads, W, kRowItems<T>, Residual, Centred>>(
        args, grid, cost_of<T>(read + written, 4 * numel), e.n, parts, eps, found, x, residual,
        weight, bias, out, sum, mean, rstd);
  });
}

template <bool Residual, bool Centred>
mill_status layer_norm(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype,
                    [&]<class T>() { return layer_norm_as<T, Residual, Centred>(args); });
}

// ---- gradient -----------------------------------------------------------------------------------

// Teams or chunks that each leave a partial row of dweight and dbias: at least eight rows each, so
// that the partial rows cost little; no more than fill a large device several times over.
int64_t partial_rows(const Extent& e, bool long_rows) {
  const int64_t most = long_rows ? 128 : e.n <= 512 ? 4096 : 1024;
  return larger<int64_t>(1, smaller(ceil_div(e.rows, 8), most));
}

// The workspace: sums of the parts of long rows, then the partial rows.
template <class T>
struct BackwardPlan {
  Extent e;
  int64_t parts;
  int64_t partials;  // 0 where neither dweight nor dbias is wanted
  uint64_t found_bytes;
  uint64_t bytes;

  BackwardPlan(const mill_kernel_args* args)
      : e(extent_of(args->in[1], args->attr[0].i)),
        parts(parts_of<T>(e)),
        partials(output(args, 1) == nullptr && output(args, 2) == nullptr
                     ? 0
                     : partial_rows(e, parts > 0)),
        found_bytes(output(args, 0) == nullptr
                        ? 0
                        : static_cast<uint64_t>(e.rows * parts) * sizeof(two<wide_t<acc_t<T>>>)),
        bytes(found_bytes + 2 * static_cast<uint64_t>(partials * e.n) * sizeof(acc_t<T>)) {}
};

uint64_t layer_norm_backward_workspace(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  with_float(args->in[1]->dtype, [&]<class T>() {
    bytes = BackwardPlan<T>(args).bytes;
    return MILL_OK;
  });
  return bytes;
}

template <class T, bool Centred>
mill_status layer_norm_backward_as(const mill_kernel_args* args) {
  using C = acc_t<T>;
  const BackwardPlan<T> plan(args);
  const Extent e = plan.e;
  if (e.n == 0) return MILL_OK;
  const auto* g = data_of<const T>(args->in[0]);
  const auto* x = data_of<const T>(args->in[1]);
  const auto* weight = data_of<const T>(input(args, 2));
  const auto* mean = Centred ? data_of<const C>(args->in[3]) : nullptr;
  const auto* rstd = data_of<const C>(args->in[Centred ? 4 : 3]);
  auto* dx = data_of<T>(output(args, 0));
  auto* dweight = data_of<T>(output(args, 1));
  auto* dbias = Centred ? data_of<T>(output(args, 2)) : nullptr;
  auto* found = static_cast<two<wide_t<C>>*>(args->workspace);
  C* partial =
      plan.partials == 0
          ? nullptr
          : reinterpret_cast<C*>(static_cast<unsigned char*>(args->workspace) + plan.found_bytes);
  const bool vectors = rows_aligned(e.n, g) && rows_aligned(e.n, x) && rows_aligned(e.n, weight) &&
                       rows_aligned(e.n, dx);
  const uint64_t bytes = bytes_of(args->in[1]);
  const auto numel = static_cast<uint64_t>(args->in[1]->numel);
  const auto partial_bytes = 2 * static_cast<uint64_t>(plan.partials * e.n) * sizeof(C);
  mill_status status = MILL_OK;
  // No rows: nothing but the parameters' zeros is left to write.
  if (e.rows > 0 && plan.parts == 0) {
    const int64_t teams = partial == nullptr ? e.rows : plan.partials;
    const cost c = cost_of<T>((dx != nullptr ? 3 : 2) * bytes + partial_bytes, 12 * numel);
    status = with_team<T>(e.n, vectors, [&]<int Team, int W, int Items>() {
      return launch<layer_norm_backward_rows<T, Team, W, Items, Centred>>(
          args, team_shape<Team>(teams), c, e.rows, static_cast<int>(e.n), teams, g, x, weight,
          mean, rstd, dx, partial);
    });
  } else if (e.rows > 0) {
    if (dx != nullptr) {
      status = with_part<T>(vectors, [&]<int W>() {
        const shape grid{e.rows * plan.parts, kPartThreads};
        const mill_status first =
            launch<layer_norm_backward_part<T, kPartThreads, W, kRowItems<T>, Centred>>(
                args, grid, cost_of<T>(2 * bytes, 4 * numel), e.n, plan.parts, g, x, weight, mean,
                rstd, found);
        if (first != MILL_OK) return first;
        return launch<layer_norm_backward_apply<T, kPartThreads, W, kRowItems<T>, Centred>>(
            args, grid, cost_of<T>(bytes, 6 * numel), e.n, plan.parts, g, x, weight, mean, rstd,
            found, dx);
      });
    }
    if (status == MILL_OK && partial != nullptr) {
      const int64_t size = ceil_div(e.rows, plan.partials);
      const column_block block = column_block_of(e.n, size);
      status = launch<layer_norm_backward_columns<T, kThreads, Centred>>(
          args, {plan.partials * ceil_div(e.n, block.lanes), block.threads()},
          cost_of<T>(2 * bytes, 4 * numel), e.rows, e.n, size, block.lanes, g, x, mean, rstd,
          partial);
    }
  }
  if (status != MILL_OK || partial == nullptr) return status;
  const int64_t parts = e.rows > 0 ? plan.partials : 0;
  const column_block block = column_block_of(2 * e.n, parts);
  return launch<layer_norm_parameters<T, kThreads>>(
      args, {ceil_div(2 * e.n, block.lanes), block.threads()},
      cost_of<T>(partial_bytes, partial_bytes / sizeof(C)), e.n, parts, block.lanes, partial,
      dweight, dbias);
}

template <bool Centred>
mill_status layer_norm_backward(const mill_kernel_args* args) {
  return with_float(args->in[1]->dtype,
                    [&]<class T>() { return layer_norm_backward_as<T, Centred>(args); });
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_LAYER_NORM, kFloatBits, {layer_norm<false, true>, layer_norm_workspace}},
    {MILL_OP_ADD_LAYER_NORM, kFloatBits, {layer_norm<true, true>, layer_norm_workspace}},
    {MILL_OP_RMS_NORM, kFloatBits, {layer_norm<false, false>, layer_norm_workspace}},
    {MILL_OP_LAYER_NORM_BACKWARD,
     kFloatBits,
     {layer_norm_backward<true>, layer_norm_backward_workspace}},
    {MILL_OP_RMS_NORM_BACKWARD,
     kFloatBits,
     {layer_norm_backward<false>, layer_norm_backward_workspace}},
};

}  // namespace

KernelList norm_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
