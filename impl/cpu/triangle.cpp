// Triangles of matrices, and indices as rows of ones and zeros. Values are only moved: kernels know
// the size of an element.
#include "cpu/convert.h"
#include "cpu/copy.h"
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// A row keeps its columns [begin, end).
template <bool kLower>
mill_status triangle(const mill_kernel_args* args) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  const int64_t diagonal = args->attr[0].i;
  const int64_t rows = x.dims[x.rank - 2];
  const int64_t columns = x.dims[x.rank - 1];
  const int64_t size = dtype_bytes(x.dtype);
  const char* from = static_cast<const char*>(x.data);
  char* to = static_cast<char*>(out.data);
  parallel(args, out.numel / columns, grain_of(columns), [=](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const int64_t at = larger<int64_t>(0, smaller(columns, r % rows + diagonal + kLower));
      const int64_t begin = kLower ? 0 : at;
      const int64_t end = kLower ? at : columns;
      const auto bytes = [size](int64_t n) { return static_cast<size_t>(n * size); };
      char* row = to + r * columns * size;
      std::memset(row, 0, bytes(begin));
      if (from != to)
        std::memcpy(row + begin * size, from + (r * columns + begin) * size, bytes(end - begin));
      std::memset(row + end * size, 0, bytes(columns - end));
    }
  });
  return MILL_OK;
}

// Rows of `inner` elements of [outer, depth, inner], or with inner 1 of depth.
template <class T>
mill_status put_ones(const mill_kernel_args* args, const char* on, const char* off) {
  const mill_kernel_tensor* index = args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  const auto axis = static_cast<int32_t>(args->attr[1].i);
  const int64_t depth = out.dims[axis];
  const int64_t inner = product(&out, axis + 1, out.rank);
  T yes;
  T no;
  std::memcpy(&yes, on, sizeof(T));
  std::memcpy(&no, off, sizeof(T));
  T* to = static_cast<T*>(out.data);
  if (inner == 1) {
    parallel(args, index->numel, grain_of(depth), [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* row = to + i * depth;
        for (int64_t d = 0; d < depth; ++d) row[d] = no;
        const int64_t at = read_index(index, i);
        if (at >= 0 && at < depth) row[at] = yes;
      }
    });
    return MILL_OK;
  }
  parallel(args, out.numel / inner, grain_of(inner), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = r / depth * inner;
      for (int64_t i = 0; i < inner; ++i)
        to[r * inner + i] = read_index(index, first + i) == r % depth ? yes : no;
    }
  });
  return MILL_OK;
}

mill_status one_hot(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  alignas(16) char on[16] = {};
  alignas(16) char off[16] = {};
  any_writer<double>(out.dtype)(&args->attr[3].f, 1, on, 1);
  any_writer<double>(out.dtype)(&args->attr[4].f, 1, off, 1);
  switch (dtype_bytes(out.dtype)) {
    case 1: return put_ones<uint8_t>(args, on, off);
    case 2: return put_ones<uint16_t>(args, on, off);
    case 4: return put_ones<uint32_t>(args, on, off);
    case 8: return put_ones<uint64_t>(args, on, off);
    default: return put_ones<Bytes16>(args, on, off);
  }
}

constexpr uint32_t kAllBits = (1u << MILL_DTYPE_COUNT) - 2u;
constexpr uint32_t kIndexBits =
    bit(MILL_U8) | bit(MILL_I8) | bit(MILL_I16) | bit(MILL_I32) | bit(MILL_I64);

constexpr KernelEntry kEntries[] = {
    {MILL_OP_ONE_HOT, kIndexBits, {one_hot, nullptr}},
    {MILL_OP_TRIL, kAllBits, {triangle<true>, nullptr}},
    {MILL_OP_TRIU, kAllBits, {triangle<false>, nullptr}},
};

}  // namespace

KernelList triangle_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
