// Kernels of the create family: fill, arange, cast and copies.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/convert.inl"
#include "kernels/block/cast.inl"
#include "kernels/block/copy.inl"

#include "gpu/families/elementwise.h"
#include "gpu/families/copy.h"
// clang-format on

mill_status fill(const mill_kernel_args* args) {
  return fill_tensor(args, *args->out[0], args->attr[2].f);
}

mill_status arange(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  const cost c{bytes_of(&out), 2 * static_cast<uint64_t>(out.numel), unit::f64};
  return launch<arange_elements<kThreads>>(args, shape_for(out.numel), c, out.numel,
                                           out.rank == 1 ? out.strides[0] : 1, args->attr[1].f,
                                           args->attr[2].f, out.dtype, out.data);
}

mill_status copy(const mill_kernel_args* args) {
  return copy_tensor(args, *args->out[0], *args->in[0]);
}

// ---- cast ---------------------------------------------------------------------------------------

// Tensors that programs cast at every step: activations and gradients of mixed precision, images.
template <class Out, class In>
bool cast_pair(const mill_kernel_args* args, const walk<2>& w, const cost& c, mill_status* status) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& in = *args->in[0];
  // 16 bytes of the narrower type, which is then several accesses of the wider one.
  constexpr int W = static_cast<int>(16 / smaller(sizeof(Out), sizeof(In)));
  if (!w.contiguous() || !aligned(out.data, 16) || !aligned(in.data, 16)) return false;
  *status = launch<cast_contiguous<kThreads, W, Out, In>>(args, shape_for(ceil_div(out.numel, W)),
                                                          c, out.numel, static_cast<Out*>(out.data),
                                                          static_cast<const In*>(in.data));
  return true;
}

bool cast_common(const mill_kernel_args* args, const walk<2>& w, const cost& c,
                 mill_status* status) {
  const int32_t from = args->in[0]->dtype;
  switch (args->out[0]->dtype) {
    case MILL_F32:
      if (from == MILL_BF16) return cast_pair<float, bf16>(args, w, c, status);
      if (from == MILL_F16) return cast_pair<float, f16>(args, w, c, status);
      if (from == MILL_U8) return cast_pair<float, uint8_t>(args, w, c, status);
      return false;
    case MILL_BF16: return from == MILL_F32 && cast_pair<bf16, float>(args, w, c, status);
    case MILL_F16: return from == MILL_F32 && cast_pair<f16, float>(args, w, c, status);
    default: return false;
  }
}

template <class C>
mill_status cast_through(const mill_kernel_args* args, const walk<2>& w, const cost& c) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& in = *args->in[0];
  constexpr int W = sizeof(C) == 16 ? 2 : 4;
  const auto to_size = static_cast<size_t>(mill::dtype_size(out.dtype));
  const auto from_size = static_cast<size_t>(mill::dtype_size(in.dtype));
  auto* to = static_cast<char*>(out.data);
  const auto* from = static_cast<const char*>(in.data);
  return each_unit<W>(w, layout<2>{{to, from}, {to_size, from_size}},
                      [&]<int U>(const geometry<2>& g, uint32_t splat, const int64_t(&o)[2]) {
                        return launch<cast_units<kThreads, U, C>>(
                            args, shape_for(g.count), share_of(c, int64_t{g.count} * U, out.numel),
                            g, splat, out.dtype, in.dtype,
                            to + o[0] * static_cast<int64_t>(to_size),
                            from + o[1] * static_cast<int64_t>(from_size));
                      });
}

mill_status cast(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& in = *args->in[0];
  if (out.numel == 0) return MILL_OK;
  if (out.dtype == in.dtype) return copy(args);
  const walk<2> w(out, {&out, &in});
  const cost c{bytes_of(&out) + distinct_bytes(in)};
  mill_status status = MILL_OK;
  if (cast_common(args, w, c, &status)) return status;
  switch (in.dtype) {
#define MILL_CASE(number, S) \
  case number: return cast_through<middle_t<S>>(args, w, c);
    MILL_EACH_STORAGE(MILL_CASE)
#undef MILL_CASE
    default: break;
  }
  return refuse(args, MILL_E_DTYPE, "x has dtype number %d, of which there is no cast", in.dtype);
}

constexpr uint32_t kAny = (1U << MILL_DTYPE_COUNT) - 2U;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_FILL, kAny, {fill, nullptr}},       {MILL_OP_ARANGE, kAny, {arange, nullptr}},
    {MILL_OP_CAST, kAny, {cast, nullptr}},       {MILL_OP_COPY, kAny, {copy, nullptr}},
    {MILL_OP_CONTIGUOUS, kAny, {copy, nullptr}},
};

}  // namespace

KernelList create_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
