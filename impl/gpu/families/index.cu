// Gathers and scatters along an axis.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/convert.inl"
#include "kernels/block/copy.inl"
#include "kernels/block/ids.inl"
#include "kernels/block/index.inl"

#include "gpu/families/elementwise.h"
#include "gpu/families/copy.h"
#include "gpu/families/teams.h"
// clang-format on

mill_status gather(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* index = args->in[1];
  const mill_kernel_tensor* out = args->out[0];
  mill_status status = check_index_dtype(args, index, "indices");
  const auto axis = static_cast<int32_t>(args->attr[0].i);
  const int64_t picked = index->numel;
  const int64_t lines = product(x, 0, axis) * picked;
  // Without elements the indices are still checked, if there is a line.
  if (status != MILL_OK || lines == 0) return status;
  const int64_t row_bytes = product(x, axis + 1, x->rank) * mill::dtype_size(x->dtype);
  return with_row_unit(row_bytes, x->data, out->data, [&]<class U, int W>() {
    const int64_t units = row_bytes / static_cast<int64_t>(sizeof(U) * W);
    const int team = team_log2_of(units);
    return launch<gather_slices<kThreads, U, W>>(
        args, team_grid(lines, team), cost{bytes_of(index) + 2 * bytes_of(out)}, lines, picked,
        x->dims[axis], units, team, static_cast<const void*>(index->data), index->dtype,
        data_of<const U>(x), data_of<U>(out), faults_of(args));
  });
}

// ---- elements -----------------------------------------------------------------------------------

// A view of dense t with the dims of `dims`; along the axis it stands still.
mill_kernel_tensor along_lines(const mill_kernel_tensor& t, const mill_kernel_tensor& dims,
                               int32_t axis, int64_t* step) {
  mill_kernel_tensor view = dims;
  int64_t stride = 1;
  for (int32_t i = t.rank; i-- > 0;) {
    view.strides[i] = i == axis ? 0 : stride;
    if (i == axis) *step = stride;
    stride *= t.dims[i];
  }
  view.data = t.data;
  view.dtype = t.dtype;
  return view;
}

template <class T>
mill_status gather_cells_as(const mill_kernel_args* args) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& index = *args->in[1];
  const mill_kernel_tensor& out = *args->out[0];
  const auto axis = static_cast<int32_t>(args->attr[0].i);
  int64_t step = 0;
  const mill_kernel_tensor lines = along_lines(x, index, axis, &step);
  const walk<2> w(out, {&out, &lines});
  const cost c{bytes_of(&index) + 2 * bytes_of(&out)};
  const auto* from = data_of<const T>(&x);
  return each_part(w, [&](const geometry<2>& g, const int64_t(&o)[2]) {
    return launch<gather_cells<kThreads, T>>(
        args, shape_for(g.count), share_of(c, g.count, out.numel), g, o[0], x.dims[axis], step,
        static_cast<const void*>(index.data), index.dtype, from + o[1], data_of<T>(&out),
        faults_of(args));
  });
}

mill_status gather_elements(const mill_kernel_args* args) {
  const mill_status status = check_index_dtype(args, args->in[1], "indices");
  if (status != MILL_OK || args->out[0]->numel == 0) return status;
  switch (mill::dtype_size(args->in[0]->dtype)) {
    case 1: return gather_cells_as<uint8_t>(args);
    case 2: return gather_cells_as<uint16_t>(args);
    case 4: return gather_cells_as<uint32_t>(args);
    case 8: return gather_cells_as<uint64_t>(args);
    default: return gather_cells_as<complex128>(args);
  }
}

// ---- scatter ------------------------------------------------------------------------------------

// Threads that a scatter should have: fewer lines than this are cut into parts, each of which reads
// all of its line's indices.
inline constexpr int64_t kScatterThreads = 1 << 15;
inline constexpr int64_t kMostParts = 1024;

mill_status scatter_elements(const mill_kernel_args* args) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& index = *args->in[1];
  const mill_kernel_tensor& updates = *args->in[2];
  const mill_kernel_tensor& out = *args->out[0];
  mill_status status = check_index_dtype(args, &index, "indices");
  if (status != MILL_OK) return status;
  if (out.numel != 0 && out.data != x.data) status = copy_tensor(args, out, x);
  if (status != MILL_OK || index.numel == 0) return status;

  const auto axis = static_cast<int32_t>(args->attr[0].i);
  scatter_line line{index.dims[axis], 0, out.dims[axis], 0};
  mill_kernel_tensor first = index;
  first.dims[axis] = 1;
  first.numel = index.numel / line.length;
  const mill_kernel_tensor whole = along_lines(out, first, axis, &line.whole_step);
  const mill_kernel_tensor starts = along_lines(index, first, axis, &line.step);
  const walk<2> w(first, {&starts, &whole});
  const int64_t parts =
      larger<int64_t>(1, smaller(smaller(line.size, kMostParts), kScatterThreads / first.numel));
  const cost c{bytes_of(&index) * static_cast<uint64_t>(parts) + 3 * bytes_of(&updates)};
  const auto how = static_cast<int>(args->attr[1].i);
  return with_numeric(out.dtype, [&]<class T>() {
    return each_part(w, [&](const geometry<2>& g, const int64_t(&o)[2]) {
      return launch<scatter_lines<kThreads, T>>(
          args, shape_for(g.count * parts), share_of(c, g.count, first.numel), g, o[0], parts, line,
          how, static_cast<const void*>(index.data), index.dtype, data_of<const T>(&updates),
          data_of<T>(&out) + o[1], faults_of(args));
    });
  });
}

constexpr uint32_t kAny = (1U << MILL_DTYPE_COUNT) - 2U;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_GATHER, kAny, {gather, nullptr}},
    {MILL_OP_GATHER_ELEMENTS, kAny, {gather_elements, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, kFloatBits | kIntegerBits, {scatter_elements, nullptr}},
};

}  // namespace

KernelList index_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
