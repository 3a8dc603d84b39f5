// Running sums along an axis of [outer, n, inner]. Floats are added up in f64.
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

template <class T>
struct SumOf {
  using type = int64_t;
};
template <>
struct SumOf<float> {
  using type = double;
};
template <>
struct SumOf<double> {
  using type = double;
};
template <>
struct SumOf<bf16> {
  using type = double;
};
template <>
struct SumOf<f16> {
  using type = double;
};

template <class T>
MILL_INLINE typename SumOf<T>::type widened(T x) {
  if constexpr (std::is_arithmetic_v<T>) {
    return x;
  } else {
    return static_cast<double>(float_of(x));
  }
}
template <class T>
MILL_INLINE T narrowed(typename SumOf<T>::type x) {
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<T>(x);
  } else if constexpr (std::is_same_v<T, bf16>) {
    return bf16_of(static_cast<float>(x));
  } else {
    return f16_of(static_cast<float>(x));
  }
}

template <class C>
MILL_INLINE C plus(C a, C b) {
  if constexpr (std::is_integral_v<C>) {
    return static_cast<C>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));  // wraps
  } else {
    return a + b;
  }
}

// Columns that go down together.
constexpr int64_t kColumns = 64;

template <class T>
mill_status cumsum(const mill_kernel_args* args) {
  using C = typename SumOf<T>::type;
  const mill_kernel_tensor* x = args->in[0];
  if (x->numel == 0) return MILL_OK;
  const auto axis = static_cast<int32_t>(args->attr[0].i);
  const bool exclusive = args->attr[1].i != 0;
  const bool reverse = args->attr[2].i != 0;
  const int64_t n = x->dims[axis];
  const int64_t inner = product(x, axis + 1, x->rank);
  const int64_t groups = ceil_div(inner, kColumns);
  const T* from = static_cast<const T*>(x->data);
  T* to = static_cast<T*>(args->out[0]->data);
  const int64_t tasks = product(x, 0, axis) * groups;
  parallel(args, tasks, grain_of(n * smaller(inner, kColumns)), [=](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % groups * kColumns;
      const int64_t width = smaller(kColumns, inner - first);
      const int64_t start = task / groups * n * inner + first;
      C sums[kColumns] = {};
      for (int64_t k = 0; k < n; ++k) {
        const int64_t at = start + (reverse ? n - 1 - k : k) * inner;
        for (int64_t j = 0; j < width; ++j) {
          const C before = sums[j];
          sums[j] = plus(before, widened(from[at + j]));
          to[at + j] = narrowed<T>(exclusive ? before : sums[j]);
        }
      }
    }
  });
  return MILL_OK;
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_CUMSUM, bit(MILL_F32), {cumsum<float>, nullptr}},
    {MILL_OP_CUMSUM, bit(MILL_F64), {cumsum<double>, nullptr}},
    {MILL_OP_CUMSUM, bit(MILL_F16), {cumsum<f16>, nullptr}},
    {MILL_OP_CUMSUM, bit(MILL_BF16), {cumsum<bf16>, nullptr}},
    {MILL_OP_CUMSUM, bit(MILL_U8), {cumsum<uint8_t>, nullptr}},
    {MILL_OP_CUMSUM, bit(MILL_I8), {cumsum<int8_t>, nullptr}},
    {MILL_OP_CUMSUM, bit(MILL_I16), {cumsum<int16_t>, nullptr}},
    {MILL_OP_CUMSUM, bit(MILL_I32), {cumsum<int32_t>, nullptr}},
    {MILL_OP_CUMSUM, bit(MILL_I64), {cumsum<int64_t>, nullptr}},
};

}  // namespace

KernelList scan_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
