// Triangles of matrices, and indices as rows of ones and zeros.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/convert.inl"
#include "kernels/block/ids.inl"
#include "kernels/block/triangle.inl"

#include "gpu/families/elementwise.h"
// clang-format on

template <class T>
mill_status keep(const mill_kernel_args* args, bool lower) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  return launch<keep_triangle<kThreads, T>>(
      args, shape_for(out.numel), cost{2 * bytes_of(&out)}, out.numel, x.dims[x.rank - 2],
      x.dims[x.rank - 1], args->attr[0].i, lower, data_of<const T>(&x), data_of<T>(&out));
}

mill_status triangle(const mill_kernel_args* args, bool lower) {
  if (args->out[0]->numel == 0) return MILL_OK;
  switch (mill::dtype_size(args->out[0]->dtype)) {
    case 1: return keep<uint8_t>(args, lower);
    case 2: return keep<uint16_t>(args, lower);
    case 4: return keep<uint32_t>(args, lower);
    case 8: return keep<uint64_t>(args, lower);
    default: return keep<complex128>(args, lower);
  }
}
mill_status tril(const mill_kernel_args* args) {
  return triangle(args, true);
}
mill_status triu(const mill_kernel_args* args) {
  return triangle(args, false);
}

mill_status one_hot(const mill_kernel_args* args) {
  const mill_kernel_tensor* index = args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  const auto axis = static_cast<int32_t>(args->attr[1].i);
  return launch<put_ones<kThreads>>(
      args, shape_for(out.numel), cost{bytes_of(index) + bytes_of(&out)}, out.numel, out.dims[axis],
      product(&out, axis + 1, out.rank), args->attr[3].f, args->attr[4].f,
      static_cast<const void*>(index->data), index->dtype, out.dtype, out.data);
}

constexpr uint32_t kAny = (1U << MILL_DTYPE_COUNT) - 2U;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_ONE_HOT, kIntegerBits, {one_hot, nullptr}},
    {MILL_OP_TRIL, kAny, {tril, nullptr}},
    {MILL_OP_TRIU, kAny, {triu, nullptr}},
};

}  // namespace

KernelList triangle_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
