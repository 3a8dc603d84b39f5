// Running sums along an axis.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/block_scan.inl"
#include "kernels/block/scan.inl"
// clang-format on

// Rows no longer than this go to a thread each.
inline constexpr int64_t kShortRow = 64;

mill_status cumsum(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  if (x->numel == 0) return MILL_OK;
  const auto axis = static_cast<int32_t>(args->attr[0].i);
  const scan_order order{x->dims[axis], args->attr[1].i != 0, args->attr[2].i != 0};
  const int64_t outer = product(x, 0, axis);
  const int64_t inner = product(x, axis + 1, x->rank);
  const cost c{2 * bytes_of(x), static_cast<uint64_t>(x->numel), unit::f64};
  return with_numeric(x->dtype, [&]<class T>() {
    const auto* from = data_of<const T>(x);
    auto* to = data_of<T>(args->out[0]);
    if (inner == 1 && order.n > kShortRow) {
      return launch<cumsum_rows<kScanThreads, T>>(
          args, {smaller<int64_t>(outer, 1 << 16), kScanThreads}, c, outer, order, from, to);
    }
    const int64_t columns = outer * inner;
    return launch<cumsum_columns<kThreads, T>>(args, {blocks_for(columns, kThreads), kThreads}, c,
                                               columns, inner, order, from, to);
  });
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_CUMSUM, kFloatBits | kIntegerBits, {cumsum, nullptr}},
};

}  // namespace

KernelList scan_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
