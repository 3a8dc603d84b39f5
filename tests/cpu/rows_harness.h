// What the tests of the row kernels share: the kernel lists of the SIMD targets this build and
// machine have, tensors with guard bytes and NaN poison, launches with a workspace, naive
// references' comparison.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/dtype.h"
#include "base/half.h"
#include "cpu/kernels.h"
#include "millrace/op_numbers.h"
#include "millrace/plugin.h"

namespace mill::cpu::test {

#ifndef MILL_CPU_TARGETS_TEXT
#define MILL_CPU_TARGETS_TEXT "baseline avx2 avx512"
#endif

constexpr bool built_for(std::string_view target) {
  return std::string_view(MILL_CPU_TARGETS_TEXT).find(target) != std::string_view::npos;
}

struct Target {
  const char* name;
  KernelList list;
};

// The lists of one family for the targets that this build has and this processor runs.
#if defined(__x86_64__)
#define MILL_TEST_TARGETS(family)                                                    \
  inline std::vector<Target> family##_targets() {                                    \
    std::vector<Target> found;                                                       \
    if constexpr (built_for("baseline"))                                             \
      found.push_back({"baseline", baseline::family##_kernels()});                   \
    if constexpr (built_for("avx2")) {                                               \
      if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))           \
        found.push_back({"avx2", avx2::family##_kernels()});                         \
    }                                                                                \
    if constexpr (built_for("avx512")) {                                             \
      if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && \
          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))  \
        found.push_back({"avx512", avx512::family##_kernels()});                     \
    }                                                                                \
    return found;                                                                    \
  }
#else
#define MILL_TEST_TARGETS(family)                        \
  inline std::vector<Target> family##_targets() {        \
    return {{"baseline", baseline::family##_kernels()}}; \
  }
#endif

inline std::vector<int32_t> float_dtypes() {
  return {MILL_F32, MILL_F64, MILL_BF16, MILL_F16};
}

// Relative size of one rounding in a dtype.
inline double epsilon_of(int32_t dtype) {
  switch (dtype) {
    case MILL_F64: return 0x1p-53;
    case MILL_BF16: return 0x1p-8;
    case MILL_F16: return 0x1p-11;
    default: return 0x1p-24;
  }
}
inline int32_t stat_dtype(int32_t dtype) {
  return dtype == MILL_F64 ? MILL_F64 : MILL_F32;
}

// A tensor over memory of its own, with guard bytes around it; every byte starts as 0xff: NaN in
// every float dtype.
class Tensor {
 public:
  Tensor(int32_t dtype, std::vector<int64_t> dims) : Tensor(dtype, dims, row_major(dims)) {}

  Tensor(int32_t dtype, std::vector<int64_t> dims, std::vector<int64_t> strides) {
    view_ = {};
    view_.dtype = dtype;
    view_.rank = static_cast<int32_t>(dims.size());
    view_.numel = 1;
    int64_t last = 0;
    for (size_t i = 0; i < dims.size(); ++i) {
      view_.dims[i] = dims[i];
      view_.strides[i] = strides[i];
      view_.numel *= dims[i];
      last += (dims[i] - 1) * strides[i];
    }
    extent_ = view_.numel == 0 ? 0 : last + 1;
    bytes_.assign(2 * kGuard + static_cast<size_t>(extent_ * dtype_size(dtype)), kPoison);
    std::memset(bytes_.data(), kGuardByte, kGuard);
    std::memset(bytes_.data() + bytes_.size() - kGuard, kGuardByte, kGuard);
    attach();
  }

  Tensor(const Tensor& other) : view_(other.view_), bytes_(other.bytes_), extent_(other.extent_) {
    attach();
  }
  Tensor& operator=(const Tensor& other) {
    view_ = other.view_;
    bytes_ = other.bytes_;
    extent_ = other.extent_;
    attach();
    return *this;
  }

  static Tensor of(int32_t dtype, std::vector<int64_t> dims, const std::vector<double>& values) {
    Tensor t(dtype, dims);
    for (int64_t i = 0; i < t.numel(); ++i) t.set(i, values[static_cast<size_t>(i)]);
    return t;
  }

  const mill_kernel_tensor* view() const { return &view_; }
  int64_t numel() const { return view_.numel; }
  int32_t dtype() const { return view_.dtype; }
  int64_t dim(int32_t i) const { return view_.dims[i]; }
  template <class T>
  T* data() {
    return static_cast<T*>(view_.data);
  }

  // Element offset of the i-th element in row-major order.
  int64_t offset(int64_t i) const {
    int64_t offset = 0;
    for (int32_t axis = view_.rank - 1; axis >= 0; --axis) {
      offset += (i % view_.dims[axis]) * view_.strides[axis];
      i /= view_.dims[axis];
    }
    return offset;
  }

  double operator[](int64_t i) const {
    const int64_t at = offset(i);
    const void* data = view_.data;
    switch (view_.dtype) {
      case MILL_F32: return static_cast<double>(static_cast<const float*>(data)[at]);
      case MILL_F64: return static_cast<const double*>(data)[at];
      case MILL_BF16: return static_cast<double>(to_float(static_cast<const bf16*>(data)[at]));
      case MILL_F16: return static_cast<double>(to_float(static_cast<const f16*>(data)[at]));
      case MILL_U8: return static_cast<const uint8_t*>(data)[at];
      case MILL_I8: return static_cast<const int8_t*>(data)[at];
      case MILL_U16: return static_cast<const uint16_t*>(data)[at];
      case MILL_I16: return static_cast<const int16_t*>(data)[at];
      case MILL_U32: return static_cast<const uint32_t*>(data)[at];
      case MILL_I32: return static_cast<const int32_t*>(data)[at];
      case MILL_U64: return static_cast<double>(static_cast<const uint64_t*>(data)[at]);
      default: return static_cast<double>(static_cast<const int64_t*>(data)[at]);
    }
  }

  void set(int64_t i, double value) {
    const int64_t at = offset(i);
    void* data = view_.data;
    switch (view_.dtype) {
      case MILL_F32: static_cast<float*>(data)[at] = static_cast<float>(value); break;
      case MILL_F64: static_cast<double*>(data)[at] = value; break;
      case MILL_BF16: static_cast<bf16*>(data)[at] = to_bf16(static_cast<float>(value)); break;
      case MILL_F16: static_cast<f16*>(data)[at] = to_f16(static_cast<float>(value)); break;
      case MILL_U8: static_cast<uint8_t*>(data)[at] = static_cast<uint8_t>(value); break;
      case MILL_I8: static_cast<int8_t*>(data)[at] = static_cast<int8_t>(value); break;
      case MILL_I16: static_cast<int16_t*>(data)[at] = static_cast<int16_t>(value); break;
      case MILL_I32: static_cast<int32_t*>(data)[at] = static_cast<int32_t>(value); break;
      case MILL_I64: static_cast<int64_t*>(data)[at] = static_cast<int64_t>(value); break;
      default: FAIL() << "set() of dtype " << view_.dtype;
    }
  }

  // Random values in [low, high), rounded to the dtype.
  Tensor& fill(uint64_t seed, double low = -2, double high = 2) {
    std::mt19937_64 engine(seed);
    std::uniform_real_distribution<double> draw(low, high);
    for (int64_t i = 0; i < numel(); ++i) set(i, draw(engine));
    return *this;
  }

  bool guards_hold() const {
    for (size_t i = 0; i < kGuard; ++i) {
      if (bytes_[i] != kGuardByte || bytes_[bytes_.size() - 1 - i] != kGuardByte) return false;
    }
    return true;
  }
  bool untouched() const {
    for (size_t i = kGuard; i + kGuard < bytes_.size(); ++i) {
      if (bytes_[i] != kPoison) return false;
    }
    return guards_hold();
  }
  bool same_bits(const Tensor& other) const { return bytes_ == other.bytes_; }

 private:
  static constexpr size_t kGuard = 64;
  static constexpr uint8_t kGuardByte = 0xa5;
  static constexpr uint8_t kPoison = 0xff;

  static std::vector<int64_t> row_major(const std::vector<int64_t>& dims) {
    std::vector<int64_t> strides(dims.size());
    int64_t stride = 1;
    for (size_t i = dims.size(); i-- > 0;) {
      strides[i] = stride;
      stride *= dims[i];
    }
    return strides;
  }
  void attach() { view_.data = view_.numel == 0 ? nullptr : bytes_.data() + kGuard; }

  mill_kernel_tensor view_;
  std::vector<uint8_t> bytes_;
  int64_t extent_ = 0;
};

inline mill_attr int_attr(int64_t value) {
  return {0, MILL_ATTR_INT, value, 0, nullptr, 0};
}
inline mill_attr float_attr(double value) {
  return {0, MILL_ATTR_FLOAT, 0, value, nullptr, 0};
}
inline mill_attr dtype_attr(int32_t value) {
  return {0, MILL_ATTR_DTYPE, value, 0, nullptr, 0};
}
inline mill_attr ints_attr(const std::vector<int64_t>& values) {
  return {0, MILL_ATTR_INTS, 0, 0, values.data(), values.size()};
}

// parallel_for on threads of its own, or in reverse order on one: results must not depend on which.
inline mill_host_services threaded(uint32_t threads) {
  mill_host_services host = {};
  host.size = sizeof(host);
  host.threads = threads;
  host.self = reinterpret_cast<void*>(static_cast<uintptr_t>(threads));
  host.parallel_for = [](void* self, int64_t n, int64_t grain,
                         void (*body)(void*, int64_t, int64_t), void* data) {
    const int64_t count = static_cast<int64_t>(reinterpret_cast<uintptr_t>(self));
    int64_t size = (n + count - 1) / count;
    if (size < grain) size = grain;
    std::vector<std::thread> workers;
    for (int64_t begin = 0; begin < n; begin += size) {
      workers.emplace_back([=] { body(data, begin, begin + size < n ? begin + size : n); });
    }
    for (std::thread& worker : workers) worker.join();
  };
  return host;
}

struct Launch {
  mill_status status = MILL_E_INTERNAL;
  std::string text;
};

// One launch: picks the entry by op and lead dtype, gives exactly the workspace asked for, with
// guards and poison.
inline Launch launch(const KernelList& list, int32_t op, std::vector<const Tensor*> in,
                     std::vector<Tensor*> out, std::vector<mill_attr> attrs = {},
                     uint32_t threads = 1) {
  std::vector<const mill_kernel_tensor*> inputs;
  std::vector<const mill_kernel_tensor*> outputs;
  int32_t lead = MILL_DTYPE_NONE;
  for (const Tensor* t : in) {
    inputs.push_back(t == nullptr ? nullptr : t->view());
    if (t != nullptr && lead == MILL_DTYPE_NONE) lead = t->dtype();
  }
  for (Tensor* t : out) {
    outputs.push_back(t == nullptr ? nullptr : t->view());
    if (t != nullptr && lead == MILL_DTYPE_NONE) lead = t->dtype();
  }
  const mill_kernel* kernel = nullptr;
  for (size_t i = 0; i < list.count; ++i) {
    if (list.entries[i].op == op && (list.entries[i].dtypes & dtype_bit(lead)) != 0)
      kernel = &list.entries[i].kernel;
  }
  Launch result;
  if (kernel == nullptr) {
    result.text = "no kernel";
    return result;
  }
  mill_kernel_error error = {};
  const mill_host_services host = threaded(threads);
  mill_kernel_args args = {};
  args.in = inputs.data();
  args.out = outputs.data();
  args.attr = attrs.data();
  args.n_in = static_cast<uint32_t>(inputs.size());
  args.n_out = static_cast<uint32_t>(outputs.size());
  args.n_attr = static_cast<uint32_t>(attrs.size());
  args.host = &host;
  args.error = &error;
  constexpr size_t kGuard = 64;
  const uint64_t needed = kernel->workspace == nullptr ? 0 : kernel->workspace(&args);
  std::vector<uint64_t> memory((needed + 7) / 8 + 2 * kGuard / 8, 0xffffffffffffffffu);
  uint8_t* bytes = reinterpret_cast<uint8_t*>(memory.data());
  std::memset(bytes, 0xa5, kGuard);
  std::memset(bytes + kGuard + needed, 0xa5, kGuard);
  args.workspace = needed == 0 ? nullptr : bytes + kGuard;
  args.workspace_bytes = needed;
  result.status = kernel->launch(&args);
  result.text = error.text;
  for (size_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(bytes[i], 0xa5) << "before the workspace";
    EXPECT_EQ(bytes[kGuard + needed + i], 0xa5) << "after the workspace";
  }
  for (const Tensor* t : in) EXPECT_TRUE(t == nullptr || t->guards_hold());
  for (const Tensor* t : out) EXPECT_TRUE(t == nullptr || t->guards_hold());
  return result;
}

// |got - want| <= relative * |want| + absolute; NaN equals NaN, infinity itself.
inline bool close(double got, double want, double relative, double absolute) {
  if (std::isnan(want)) return std::isnan(got);
  if (std::isinf(want)) return got == want;
  return std::abs(got - want) <= relative * std::abs(want) + absolute;
}

inline void expect_close(const Tensor& got, const std::vector<double>& want, double relative,
                         double absolute, const std::string& where) {
  ASSERT_EQ(got.numel(), static_cast<int64_t>(want.size())) << where;
  for (int64_t i = 0; i < got.numel(); ++i) {
    const double expected = want[static_cast<size_t>(i)];
    ASSERT_TRUE(close(got[i], expected, relative, absolute))
        << where << ": element " << i << " is " << got[i] << ", expected " << expected;
  }
}

inline std::string label(const Target& target, int32_t dtype, const std::string& rest = "") {
  return std::string(target.name) + " " + dtype_name(dtype) + (rest.empty() ? "" : " " + rest);
}

}  // namespace mill::cpu::test
