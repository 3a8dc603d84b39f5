// Gathers and scatters along an axis. A part of a line of the result belongs to one task, which
// reads the line's indices in order: the result does not depend on threads.
#include "cpu/convert.h"
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

mill_status gather(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* index = args->in[1];
  const mill_kernel_tensor* out = args->out[0];
  const auto axis = static_cast<int32_t>(args->attr[0].i);
  const int64_t n = x->dims[axis];
  const mill_status status = check_indices(args, index, n, nullptr, "index");
  if (status != MILL_OK || out->numel == 0) return status;
  const int64_t picked = index->numel;
  const int64_t inner = product(x, axis + 1, x->rank);
  const int64_t lines = product(x, 0, axis) * picked;
  const size_t bytes = static_cast<size_t>(inner * dtype_bytes(x->dtype));
  const char* from = static_cast<const char*>(x->data);
  char* to = static_cast<char*>(out->data);
  parallel(args, lines, grain_of(inner), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t outer = i / picked;
      const int64_t row = outer * n + read_index(index, i - outer * picked);
      std::memcpy(to + static_cast<size_t>(i) * bytes, from + static_cast<size_t>(row) * bytes,
                  bytes);
    }
  });
  return MILL_OK;
}

// ---- elements -----------------------------------------------------------------------------------

// Lines of index along the axis: where each begins in index (and in what has its dims) and in x
// (and in what has x's).
struct Lines {
  int32_t rank;
  int32_t axis;
  int64_t count = 1;
  int64_t length;      // of index along the axis
  int64_t size;        // of x along the axis
  int64_t step;        // between neighbours along the axis, in index
  int64_t whole_step;  // the same in x
  int64_t dims[MILL_MAX_RANK];
  int64_t strides[MILL_MAX_RANK];
  int64_t whole_strides[MILL_MAX_RANK];

  Lines(const mill_kernel_tensor* x, const mill_kernel_tensor* index, int64_t along)
      : rank(x->rank), axis(static_cast<int32_t>(along)) {
    int64_t stride = 1;
    int64_t whole = 1;
    for (int32_t i = rank; i-- > 0;) {
      strides[i] = stride;
      whole_strides[i] = whole;
      stride *= index->dims[i];
      whole *= x->dims[i];
      dims[i] = i == axis ? 1 : index->dims[i];
      count *= dims[i];
    }
    length = index->dims[axis];
    size = x->dims[axis];
    step = strides[axis];
    whole_step = whole_strides[axis];
  }

  void place(int64_t line, int64_t* at, int64_t* whole_at) const {
    *at = *whole_at = 0;
    for (int32_t i = rank; i-- > 0;) {
      const int64_t here = line % dims[i];
      line /= dims[i];
      *at += here * strides[i];
      *whole_at += here * whole_strides[i];
    }
  }
};

template <class T>
void gather_lines(const mill_kernel_args* args) {
  const mill_kernel_tensor* index = args->in[1];
  const Lines lines(args->in[0], index, args->attr[0].i);
  const T* x = static_cast<const T*>(args->in[0]->data);
  T* out = static_cast<T*>(args->out[0]->data);
  parallel(args, lines.count, grain_of(4 * lines.length), [=](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      int64_t at = 0;
      int64_t whole = 0;
      lines.place(line, &at, &whole);
      for (int64_t j = 0; j < lines.length; ++j, at += lines.step)
        out[at] = x[whole + read_index(index, at) * lines.whole_step];
    }
  });
}

mill_status gather_elements(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* index = args->in[1];
  const int64_t n = x->dims[args->attr[0].i];
  const mill_status status = check_indices(args, index, n, nullptr, "index");
  if (status != MILL_OK || index->numel == 0) return status;
  switch (dtype_bytes(x->dtype)) {
    case 1: gather_lines<uint8_t>(args); break;
    case 2: gather_lines<uint16_t>(args); break;
    case 4: gather_lines<uint32_t>(args); break;
    case 8: gather_lines<uint64_t>(args); break;
    default: gather_lines<Bytes16>(args); break;
  }
  return MILL_OK;
}

// ---- scatter ------------------------------------------------------------------------------------

enum Joining { kSet, kAdd, kMul, kMax, kMin };  // mill_scatter_reductions

template <class T>
MILL_INLINE T joined(T old, T update, int64_t how) {
  switch (how) {
    case kAdd:
    case kMul:
      if constexpr (std::is_integral_v<T>) {
        // Wraps, as it does in ops of integers.
        const auto a = static_cast<uint64_t>(old);
        const auto b = static_cast<uint64_t>(update);
        return static_cast<T>(how == kAdd ? a + b : a * b);
      } else {
        return how == kAdd ? old + update : old * update;
      }
    // NaN if either is.
    case kMax: return old > update || old != old ? old : update;
    case kMin: return old < update || old != old ? old : update;
    default: return update;
  }
}
MILL_INLINE bf16 joined(bf16 old, bf16 update, int64_t how) {
  if (how == kSet) return update;
  return bf16_of(joined(float_of(old), float_of(update), how));
}
MILL_INLINE f16 joined(f16 old, f16 update, int64_t how) {
  if (how == kSet) return update;
  return f16_of(joined(float_of(old), float_of(update), how));
}

// A line that is long and has few beside it is cut into this many parts of the result.
constexpr int64_t kMostParts = 16;

template <class T>
mill_status scatter_elements(const mill_kernel_args* args) {
  const mill_kernel_tensor* index = args->in[1];
  const mill_kernel_tensor* out = args->out[0];
  const int64_t how = args->attr[1].i;
  const int64_t n = out->dims[args->attr[0].i];
  const mill_status status = check_indices(args, index, n, nullptr, "index");
  if (status != MILL_OK || out->numel == 0) return status;
  T* to = static_cast<T*>(out->data);
  const T* from = static_cast<const T*>(args->in[0]->data);
  if (from != to) {
    parallel(args, out->numel, grain_of(1), [=](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(T));
    });
  }
  if (index->numel == 0) return MILL_OK;
  const Lines lines(out, index, args->attr[0].i);
  const T* updates = static_cast<const T*>(args->in[2]->data);
  const int64_t parts =
      lines.count >= kMostParts || lines.length < kParallelElements ? 1 : smaller(n, kMostParts);
  parallel(args, lines.count * parts, grain_of(4 * lines.length), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t part = i % parts;
      const int64_t low = n * part / parts;
      const int64_t high = n * (part + 1) / parts;
      int64_t at = 0;
      int64_t whole = 0;
      lines.place(i / parts, &at, &whole);
      for (int64_t j = 0; j < lines.length; ++j, at += lines.step) {
        const int64_t here = read_index(index, at);
        if (here < low || here >= high) continue;
        T& cell = to[whole + here * lines.whole_step];
        cell = joined(cell, updates[at], how);
      }
    }
  });
  return MILL_OK;
}

constexpr uint32_t kAllBits = (1u << MILL_DTYPE_COUNT) - 2u;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_GATHER, kAllBits, {gather, nullptr}},
    {MILL_OP_GATHER_ELEMENTS, kAllBits, {gather_elements, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_F32), {scatter_elements<float>, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_F64), {scatter_elements<double>, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_F16), {scatter_elements<f16>, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_BF16), {scatter_elements<bf16>, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_U8), {scatter_elements<uint8_t>, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_I8), {scatter_elements<int8_t>, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_I16), {scatter_elements<int16_t>, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_I32), {scatter_elements<int32_t>, nullptr}},
    {MILL_OP_SCATTER_ELEMENTS, bit(MILL_I64), {scatter_elements<int64_t>, nullptr}},
};

}  // namespace

KernelList index_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
