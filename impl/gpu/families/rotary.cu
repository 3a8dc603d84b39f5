// Rotary position embedding.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/ids.inl"
#include "kernels/block/rotary.inl"

#include "gpu/families/elementwise.h"
// clang-format on

// Elements of each of the two tables.
int64_t table_size(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* positions = input(args, 1);
  const int64_t rows = positions == nullptr ? x->dims[x->rank - 2] : positions->numel;
  return rows * (args->attr[1].i / 2);
}

uint64_t rotary_workspace(const mill_kernel_args* args) {
  if (args->out[0]->numel == 0) return 0;
  const uint64_t each = args->in[0]->dtype == MILL_F64 ? sizeof(double) : sizeof(float);
  return 2 * each * static_cast<uint64_t>(table_size(args));
}

mill_status rotary(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* positions = input(args, 1);
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  if (positions != nullptr) {
    const mill_status status = check_index_dtype(args, positions, "positions");
    if (status != MILL_OK) return status;
  }
  const uint64_t needed = rotary_workspace(args);
  if (args->workspace_bytes < needed) {
    return refuse(args, MILL_E_INTERNAL, "the kernel needs %llu bytes of workspace and got %llu",
                  static_cast<unsigned long long>(needed),
                  static_cast<unsigned long long>(args->workspace_bytes));
  }
  const int64_t table = table_size(args);
  const bool own = positions != nullptr && positions->rank == 2;
  const rotary_turns g{x->dims[x->rank - 1], args->attr[1].i / 2, x->dims[x->rank - 2],
                       own ? product(x, 1, x->rank - 1) : 0, args->attr[2].i != 0};
  return with_float(x->dtype, [&]<class T>() {
    using C = acc_t<T>;
    auto* cosines = static_cast<C*>(args->workspace);
    auto* sines = cosines + table;
    if (table > 0) {
      const double sign = args->attr[3].i != 0 ? -1 : 1;
      const mill_status status = launch<rotary_table<kThreads, C>>(
          args, shape_for(table), cost{needed, static_cast<uint64_t>(100 * table), unit::f64},
          table, g.pairs, args->attr[0].f, sign, data_of<const void>(positions),
          positions == nullptr ? int32_t{MILL_I64} : positions->dtype, cosines, sines);
      if (status != MILL_OK) return status;
    }
    const int64_t items = product(x, 0, x->rank - 1) * (g.features - g.pairs);
    return launch<rotary_pairs<kThreads, T>>(
        args, shape_for(items),
        cost{2 * bytes_of(x) + needed, static_cast<uint64_t>(3 * x->numel),
             sizeof(C) == 8 ? unit::f64 : unit::f32},
        items, g, static_cast<const C*>(cosines), static_cast<const C*>(sines), data_of<const T>(x),
        data_of<T>(out));
  });
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_ROTARY, kFloatBits, {rotary, rotary_workspace}},
};

}  // namespace

KernelList rotary_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
