// matmul and linear of every SIMD target that this processor runs, and of oneDNN where it is
// installed, against sums in long double.
#include <dirent.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/dtype.h"
#include "base/dynlib.h"
#include "base/half.h"
#include "base/thread_pool.h"
#include "cpu/kernels.h"
#include "cpu/runtime/onednn.h"
#include "cpu/runtime/runtime.h"
#include "millrace/op_numbers.h"

#ifndef MILL_CPU_TARGETS_TEXT
#define MILL_CPU_TARGETS_TEXT "baseline avx2 avx512"
#endif

namespace mill::cpu {
namespace {

using Dims = std::vector<int64_t>;

struct Target {
  std::string name;
  KernelList kernels;
};

// A template, so that a target which is not built is not linked either.
template <class Text>
std::vector<Target> make_targets(Text) {
  std::vector<Target> targets;
  constexpr std::string_view built = Text::value;
  if constexpr (built.find("baseline") != std::string_view::npos) {
    targets.push_back({"baseline", baseline::matmul_kernels()});
  }
#if defined(__x86_64__)
  __builtin_cpu_init();
  if constexpr (built.find("avx2") != std::string_view::npos) {
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      targets.push_back({"avx2", avx2::matmul_kernels()});
    }
  }
  if constexpr (built.find("avx512") != std::string_view::npos) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      targets.push_back({"avx512", avx512::matmul_kernels()});
    }
  }
#endif
  return targets;
}

struct BuiltTargets {
  static constexpr std::string_view value = MILL_CPU_TARGETS_TEXT;
};

const std::vector<Target>& targets() {
  static const std::vector<Target> list = make_targets(BuiltTargets());
  return list;
}

mill_kernel find(const KernelList& list, int32_t op, int32_t dtype) {
  for (size_t i = 0; i < list.count; ++i) {
    if (list.entries[i].op == op && (list.entries[i].dtypes & dtype_bit(dtype)) != 0) {
      return list.entries[i].kernel;
    }
  }
  return {};
}

constexpr int32_t kDtypes[] = {MILL_F32, MILL_F64, MILL_BF16, MILL_F16};

long double unit_roundoff(int32_t dtype) {
  switch (dtype) {
    case MILL_F64: return 0x1p-53L;
    case MILL_F32: return 0x1p-24L;
    case MILL_F16: return 0x1p-11L;
    default: return 0x1p-8L;
  }
}

// Elements at any strides inside a block of bytes that is known byte for byte.
struct Tensor {
  static constexpr size_t kGuard = 256;

  int32_t dtype;
  Dims dims, strides;
  std::vector<unsigned char> bytes;
  mill_kernel_tensor view{};

  Tensor(int32_t type, Dims shape, Dims steps) : dtype(type), dims(shape), strides(steps) {
    int64_t span = 1;
    int64_t numel = 1;
    for (size_t i = 0; i < dims.size(); ++i) {
      numel *= dims[i];
      if (dims[i] > 0) span += (dims[i] - 1) * strides[i];
    }
    const size_t size = static_cast<size_t>(dtype_size(dtype));
    bytes.assign(2 * kGuard + static_cast<size_t>(numel == 0 ? 0 : span) * size, 0xff);  // NaN
    view.data = numel == 0 ? nullptr : bytes.data() + kGuard;
    view.numel = numel;
    view.dtype = dtype;
    view.rank = static_cast<int32_t>(dims.size());
    for (size_t i = 0; i < dims.size(); ++i) {
      view.dims[i] = dims[i];
      view.strides[i] = strides[i];
    }
  }

  unsigned char* at(int64_t element) const {
    return static_cast<unsigned char*>(view.data) + element * dtype_size(dtype);
  }
  double get(int64_t element) const {
    switch (dtype) {
      case MILL_F64: return read<double>(element);
      case MILL_F32: return static_cast<double>(read<float>(element));
      case MILL_F16: return static_cast<double>(to_float(read<f16>(element)));
      default: return static_cast<double>(to_float(read<bf16>(element)));
    }
  }
  void set(int64_t element, double value) {
    switch (dtype) {
      case MILL_F64: return write(element, value);
      case MILL_F32: return write(element, static_cast<float>(value));
      case MILL_F16: return write(element, to_f16(static_cast<float>(value)));
      default: return write(element, to_bf16(static_cast<float>(value)));
    }
  }
  template <class T>
  T read(int64_t element) const {
    T value;
    std::memcpy(&value, at(element), sizeof(value));
    return value;
  }
  template <class T>
  void write(int64_t element, T value) {
    std::memcpy(at(element), &value, sizeof(value));
  }

  int64_t offset(const Dims& index) const {
    int64_t sum = 0;
    for (size_t i = 0; i < dims.size(); ++i) sum += index[i] * strides[i];
    return sum;
  }
};

// Calls body(index) for every index of a shape.
template <class Body>
void for_each_index(const Dims& dims, Body body) {
  for (const int64_t dim : dims) {
    if (dim == 0) return;
  }
  Dims index(dims.size(), 0);
  for (;;) {
    body(index);
    size_t axis = dims.size();
    while (axis > 0 && ++index[axis - 1] == dims[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

Dims row_major(const Dims& dims) {
  Dims strides(dims.size());
  int64_t step = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = step;
    step *= dims[i] > 0 ? dims[i] : 1;
  }
  return strides;
}

// How an operand lies in memory.
enum class Lie { plain, transposed, padded, sparse };
constexpr Lie kLies[] = {Lie::plain, Lie::transposed, Lie::padded, Lie::sparse};

Dims lay(const Dims& dims, Lie lie) {
  if (dims.empty()) return {};
  Dims shape = dims;
  if (lie == Lie::transposed && dims.size() >= 2) {
    std::swap(shape[dims.size() - 1], shape[dims.size() - 2]);
    Dims strides = row_major(shape);
    std::swap(strides[dims.size() - 1], strides[dims.size() - 2]);
    return strides;
  }
  if (lie == Lie::padded) shape.back() += 3;
  Dims strides = row_major(shape);
  if (lie == Lie::sparse) {
    for (int64_t& stride : strides) stride *= 2;
  }
  return strides;
}

// Shares run last to first: no share may rely on another.
void run_shares(void* self, int64_t n, int64_t grain, void (*body)(void*, int64_t, int64_t),
                void* data) {
  const ThreadPool& shares = *static_cast<const ThreadPool*>(self);
  const int64_t count = shares.shares(n, grain);
  for (int64_t share = count; share-- > 0;) {
    const int64_t length = n / count;
    const int64_t longer = n % count;
    const int64_t begin = share * length + std::min(share, longer);
    body(data, begin, begin + length + (share < longer ? 1 : 0));
  }
}

struct Options {
  int threads = 1;
  Runtime* runtime = nullptr;
  ThreadPool* pool = nullptr;  // NULL: the shares run here, one by one
};

class Product {
 public:
  Product(int32_t op, int32_t dtype, uint32_t seed = 1) : op_(op), dtype_(dtype), random_(seed) {}

  Product& a(Dims dims, Lie lie = Lie::plain) { return a(dims, lay(dims, lie)); }
  Product& a(Dims dims, Dims strides) { return fill(&inputs_[0], dims, strides); }
  Product& b(Dims dims, Lie lie = Lie::plain) { return b(dims, lay(dims, lie)); }
  Product& b(Dims dims, Dims strides) { return fill(&inputs_[1], dims, strides); }
  Product& bias(Dims dims, int64_t stride = 1) { return fill(&inputs_[2], dims, {stride}); }
  Product& accumulate() {
    accumulate_ = true;
    return *this;
  }
  Product& out(Lie lie) {
    out_lie_ = lie;
    return *this;
  }

  // Runs one target's kernel and checks every byte around and between the results too.
  void check(const Target& target, Options options = {}) {
    const mill_kernel kernel = find(target.kernels, op_, dtype_);
    ASSERT_NE(kernel.launch, nullptr);
    const Dims dims = out_dims();
    Tensor out(dtype_, dims, lay(dims, out_lie_));
    std::mt19937 start(7);
    std::uniform_real_distribution<double> uniform(-1, 1);
    if (accumulate_) {
      for_each_index(dims, [&](const Dims& index) { out.set(out.offset(index), uniform(start)); });
    }
    const Tensor before = copy_of(out);

    ThreadPool shares(options.threads);
    mill_host_services host{};
    host.size = sizeof(host);
    host.threads = static_cast<uint32_t>(options.threads);
    host.self = options.pool != nullptr ? static_cast<void*>(options.pool) : &shares;
    host.parallel_for =
        options.pool != nullptr
            ? [](void* self, int64_t n, int64_t grain, void (*body)(void*, int64_t, int64_t),
                 void* data) { static_cast<ThreadPool*>(self)->parallel_for(n, grain, body, data); }
            : run_shares;
    host.builtin = options.runtime;
    const mill_kernel_tensor* in[3] = {};
    for (size_t i = 0; i < 3; ++i) in[i] = inputs_[i].empty() ? nullptr : &inputs_[i][0].view;
    const mill_kernel_tensor* outs[1] = {&out.view};
    mill_kernel_error error{};
    mill_kernel_args args{};
    args.in = in;
    args.out = outs;
    args.n_in = op_ == MILL_OP_LINEAR ? 3 : 2;
    args.n_out = 1;
    args.flags = accumulate_ ? static_cast<uint32_t>(MILL_KERNEL_ACCUMULATE) : 0u;
    args.host = &host;
    args.error = &error;
    const uint64_t needed = kernel.workspace(&args);
    // As large as asked for and not a byte more, at an address of the worst kind, full of NaN.
    constexpr uint64_t kOff = 8;
    std::vector<unsigned char> workspace(needed + kOff + 64, 0xff);
    args.workspace = needed == 0 ? nullptr : workspace.data() + kOff;
    args.workspace_bytes = needed;
    ASSERT_EQ(kernel.launch(&args), MILL_OK) << error.text;
    for (uint64_t i = 0; i < 64; ++i) ASSERT_EQ(workspace[kOff + needed + i], 0xff) << "workspace";
    compare(target, before, out);
  }

  void check_all(Options options = {}) {
    for (const Target& target : targets()) {
      SCOPED_TRACE(target.name + " " + dtype_name(dtype_));
      check(target, options);
      if (testing::Test::HasFatalFailure()) return;
    }
  }

 private:
  Product& fill(std::vector<Tensor>* into, const Dims& dims, const Dims& strides) {
    into->clear();
    exact_.clear();
    into->emplace_back(dtype_, dims, strides);
    Tensor& tensor = into->back();
    std::uniform_real_distribution<double> uniform(-1, 1);
    for_each_index(dims, [&](const Dims& at) { tensor.set(tensor.offset(at), uniform(random_)); });
    return *this;
  }

  static Tensor copy_of(const Tensor& tensor) {
    Tensor copy = tensor;
    if (copy.view.data != nullptr) copy.view.data = copy.bytes.data() + Tensor::kGuard;
    return copy;
  }

  const Tensor& in(size_t i) const { return inputs_[i][0]; }

  Dims out_dims() const {
    const Dims& a = in(0).dims;
    const Dims& b = in(1).dims;
    if (op_ == MILL_OP_LINEAR) {
      Dims dims(a.begin(), a.end() - 1);
      dims.push_back(b[0]);
      return dims;
    }
    const size_t a_batch = a.size() > 2 ? a.size() - 2 : 0;
    const size_t b_batch = b.size() > 2 ? b.size() - 2 : 0;
    Dims dims(std::max(a_batch, b_batch), 1);
    for (size_t i = 0; i < a_batch; ++i) dims[dims.size() - a_batch + i] = a[i];
    for (size_t i = 0; i < b_batch; ++i) {
      int64_t& dim = dims[dims.size() - b_batch + i];
      if (dim == 1) dim = b[i];
    }
    if (a.size() > 1) dims.push_back(a[a.size() - 2]);
    if (b.size() > 1) dims.push_back(b.back());
    return dims;
  }

  // Where the sum for one result starts in a and b, and its steps along k.
  struct Walk {
    int64_t a = 0, b = 0, a_step = 0, b_step = 0, count = 0;
  };
  Walk walk(const Dims& index) const {
    const Tensor& a = in(0);
    const Tensor& b = in(1);
    Walk w;
    w.count = a.dims.back();
    w.a_step = a.strides.back();
    if (op_ == MILL_OP_LINEAR) {
      for (size_t i = 0; i + 1 < a.dims.size(); ++i) w.a += index[i] * a.strides[i];
      w.b = index.back() * b.strides[0];
      w.b_step = b.strides[1];
      return w;
    }
    size_t last = index.size();
    if (b.dims.size() > 1) w.b = index[--last] * b.strides.back();
    w.b_step = b.strides[b.dims.size() > 1 ? b.dims.size() - 2 : 0];
    if (a.dims.size() > 1) w.a = index[--last] * a.strides[a.dims.size() - 2];
    for (const bool left : {true, false}) {
      const Tensor& t = left ? a : b;
      const size_t batch = t.dims.size() > 2 ? t.dims.size() - 2 : 0;
      for (size_t i = 0; i < batch; ++i) {
        const int64_t position = t.dims[i] == 1 ? 0 : index[last - batch + i];
        (left ? w.a : w.b) += position * t.strides[i];
      }
    }
    return w;
  }

  // Of each result: the sum of the products, and of their absolute values.
  struct Exact {
    long double sum, size;
  };
  const std::vector<Exact>& reference(const Dims& dims) {
    if (!exact_.empty()) return exact_;
    for_each_index(dims, [&](const Dims& index) {
      const Walk w = walk(index);
      exact_.push_back(dtype_ == MILL_F64 ? sum_as<long double>(w) : sum_as<double>(w));
    });
    return exact_;
  }
  template <class T>  // double is exact to far below the unit of every dtype but f64
  Exact sum_as(const Walk& w) const {
    T sum = 0;
    T size = 0;
    for (int64_t k = 0; k < w.count; ++k) {
      const T term = static_cast<T>(in(0).get(w.a + k * w.a_step)) *
                     static_cast<T>(in(1).get(w.b + k * w.b_step));
      sum += term;
      size += std::fabs(term);
    }
    return {sum, size};
  }

  void compare(const Target& target, const Tensor& before, Tensor& out) {
    const long double unit = unit_roundoff(dtype_ == MILL_F64 ? MILL_F64 : MILL_F32);
    const long double storage = unit_roundoff(dtype_);
    const int64_t depth = in(0).dims.back();
    const std::vector<Exact>& exact = reference(out.dims);
    size_t next = 0;
    int wrong = 0;
    for_each_index(out.dims, [&](const Dims& index) {
      long double sum = exact[next].sum;
      long double size = exact[next].size;
      ++next;
      if (!inputs_[2].empty()) {
        const long double term = in(2).get(index.back() * in(2).strides[0]);
        sum += term;
        size += std::fabs(term);
      }
      const int64_t at = out.offset(index);
      if (accumulate_) {
        const long double term = before.get(at);
        sum += term;
        size += std::fabs(term);
      }
      // Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, plus one final
      // rounding.
      const long double limit = static_cast<long double>(depth + 3) * unit * size +
                                storage * std::fabs(sum) + 0x1p-25L * (dtype_ == MILL_F16);
      const long double got = out.get(at);
      if (!(std::fabs(got - sum) <= limit) && ++wrong <= 3) {
        std::string where;
        for (const int64_t i : index) where += " " + std::to_string(i);
        ADD_FAILURE() << target.name << " " << dtype_name(dtype_) << " [" << where
                      << " ]: " << static_cast<double>(got) << " instead of "
                      << static_cast<double>(sum) << ", limit " << static_cast<double>(limit);
      }
    });
    ASSERT_EQ(wrong, 0);
    // With its results wiped out of both, the memory must be as it was.
    Tensor after = copy_of(out);
    Tensor old = copy_of(before);
    for_each_index(out.dims, [&](const Dims& index) {
      after.set(after.offset(index), 0);
      old.set(old.offset(index), 0);
    });
    ASSERT_TRUE(after.bytes == old.bytes) << "bytes outside the result were written";
  }

  int32_t op_, dtype_;
  std::mt19937 random_;
  std::vector<Tensor> inputs_[3];  // empty: absent
  std::vector<Exact> exact_;
  bool accumulate_ = false;
  Lie out_lie_ = Lie::plain;
};

Product matmul(int32_t dtype) {
  return Product(MILL_OP_MATMUL, dtype);
}
Product linear(int32_t dtype) {
  return Product(MILL_OP_LINEAR, dtype);
}

constexpr int64_t kSizes[][3] = {
    {1, 1, 1},   {2, 3, 4},    {5, 7, 1},    {14, 32, 16},  {15, 33, 17}, {6, 16, 8},
    {7, 17, 9},  {64, 10, 40}, {10, 65, 33}, {29, 31, 100}, {1, 50, 70},  {50, 1, 70},
    {3, 40, 66}, {4, 5, 130},  {33, 70, 45}, {1, 1, 300},   {1, 1100, 9}, {13, 19, 400}};

TEST(Gemm, EverySizeInEveryDtype) {
  for (const auto& [m, n, k] : kSizes) {
    SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
    for (const int32_t dtype : kDtypes) matmul(dtype).a({m, k}).b({k, n}).check_all();
    if (HasFatalFailure()) return;
  }
}

TEST(Gemm, AnyStridesOfBothOperandsAndTheResult) {
  for (const Lie a : kLies) {
    for (const Lie b : kLies) {
      for (const Lie out : kLies) {
        SCOPED_TRACE(testing::Message() << "lies " << static_cast<int>(a) << static_cast<int>(b)
                                        << static_cast<int>(out));
        for (const int32_t dtype : kDtypes) {
          matmul(dtype).a({37, 21}, a).b({21, 43}, b).out(out).check_all();
          matmul(dtype).a({1, 70}, a).b({70, 43}, b).out(out).check_all();
          matmul(dtype).a({43, 70}, a).b({70, 1}, b).out(out).check_all();
          matmul(dtype).a({3, 70}, a).b({70, 43}, b).out(out).accumulate().check_all();
        }
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Gemm, MoreThanOneBlockInEveryDirection) {
  for (const int32_t dtype : kDtypes) {
    matmul(dtype).a({180, 20}).b({20, 800}).check_all();
    matmul(dtype).a({30, 801}).b({801, 50}, Lie::transposed).check_all();
    matmul(dtype).a({150, 800}, Lie::transposed).b({800, 40}).accumulate().check_all();
    linear(dtype).a({1100, 390}).b({20, 390}).bias({20}).accumulate().check_all();
    if (HasFatalFailure()) return;
  }
}

TEST(Gemm, AddsToWhatIsThereOnlyWhenAskedTo) {
  for (const auto& [m, n, k] : kSizes) {
    SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
    for (const int32_t dtype : kDtypes) {
      matmul(dtype).a({m, k}).b({k, n}, Lie::transposed).accumulate().check_all();
    }
    if (HasFatalFailure()) return;
  }
}

TEST(Gemm, VectorsAreRowsOnTheLeftAndColumnsOnTheRight) {
  for (const int32_t dtype : kDtypes) {
    matmul(dtype).a({37}).b({37}).check_all();
    matmul(dtype).a({37}).b({37, 20}).check_all();
    matmul(dtype).a({20, 37}).b({37}).check_all();
    matmul(dtype).a({37}).b({5, 37, 20}).check_all();
    matmul(dtype).a({5, 20, 37}).b({37}).check_all();
    matmul(dtype).a({37}, Dims{3}).b({5, 37, 20}, Lie::sparse).out(Lie::sparse).check_all();
    if (HasFatalFailure()) return;
  }
}

TEST(Gemm, LeadingAxesBroadcast) {
  for (const int32_t dtype : kDtypes) {
    matmul(dtype).a({5, 9, 8}).b({8, 7}).check_all();
    matmul(dtype).a({9, 8}).b({5, 8, 7}).check_all();
    matmul(dtype).a({3, 1, 9, 8}).b({4, 8, 7}).check_all();
    matmul(dtype)
        .a({2, 3, 4, 5}, Lie::transposed)
        .b({3, 5, 6}, Lie::sparse)
        .accumulate()
        .check_all();
    matmul(dtype).a({3, 1, 1, 8}).b({1, 4, 8, 1}).out(Lie::sparse).check_all();
    matmul(dtype).a({2, 3, 1, 8}).b({8, 7}).check_all();
    // Strides of 0 are broadcasts that the caller made.
    matmul(dtype).a({5, 9, 8}, Dims{0, 8, 1}).b({5, 8, 7}, Dims{56, 0, 1}).check_all();
    matmul(dtype).a({9, 40}, Dims{1, 0}).b({40, 40}, Dims{0, 0}).check_all();
    // Rows and leading axes that cannot be walked with one stride.
    matmul(dtype).a({4, 9, 8}, Dims{8, 40, 1}).b({8, 7}).check_all();
    if (HasFatalFailure()) return;
  }
}

TEST(Gemm, LinearMultipliesByTheTransposedWeightAndAddsTheBias) {
  for (const int32_t dtype : kDtypes) {
    for (const auto& [m, n, k] : kSizes) {
      SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
      linear(dtype).a({m, k}).b({n, k}).check_all();
      linear(dtype).a({m, k}).b({n, k}).bias({n}).check_all();
      linear(dtype).a({m, k}, Lie::sparse).b({n, k}, Lie::transposed).bias({n}, 2).check_all();
      linear(dtype).a({m, k}).b({n, k}).bias({n}).out(Lie::transposed).accumulate().check_all();
      linear(dtype).a({m, k}).b({n, k}).bias({n}, 0).out(Lie::sparse).check_all();
      if (HasFatalFailure()) return;
    }
    linear(dtype).a({20}).b({9, 20}).bias({9}).check_all();
    linear(dtype).a({2, 3, 4, 20}, Lie::padded).b({9, 20}).bias({9}).check_all();
    linear(dtype).a({2, 3, 20}, Dims{20, 40, 1}).b({9, 20}).bias({9}).accumulate().check_all();
    linear(dtype).a({1, 3, 20}).b({1, 20}).bias({1}).check_all();
  }
}

TEST(Gemm, AnEmptySumIsZeroPlusTheBias) {
  for (const int32_t dtype : kDtypes) {
    matmul(dtype).a({3, 0}).b({0, 5}).check_all();
    matmul(dtype).a({4, 3, 0}).b({4, 0, 5}).accumulate().check_all();
    matmul(dtype).a({0}).b({0}).check_all();
    linear(dtype).a({3, 0}).b({5, 0}).check_all();
    linear(dtype).a({3, 0}).b({5, 0}).bias({5}).out(Lie::sparse).check_all();
    linear(dtype).a({3, 0}).b({5, 0}).bias({5}).accumulate().check_all();
    if (HasFatalFailure()) return;
  }
}

TEST(Gemm, NoResultNeedsNoWork) {
  for (const int32_t dtype : kDtypes) {
    matmul(dtype).a({0, 3}).b({3, 5}).check_all();
    matmul(dtype).a({3, 4}).b({4, 0}).check_all();
    matmul(dtype).a({0, 3, 4}).b({4, 5}).check_all();
    linear(dtype).a({0, 3}).b({5, 3}).bias({5}).check_all();
  }
}

TEST(Gemm, EveryCutIntoPartsGivesTheWholeResult) {
  for (const int threads : {2, 5}) {
    SCOPED_TRACE(testing::Message() << threads << " threads");
    for (const int32_t dtype : kDtypes) {
      matmul(dtype).a({150, 130}).b({130, 200}).check_all({threads});
      matmul(dtype).a({29, 400}).b({400, 300}).check_all({threads});
      matmul(dtype).a({300, 400}).b({400, 29}, Lie::transposed).accumulate().check_all({threads});
      matmul(dtype).a({1, 900}).b({900, 1000}).check_all({threads});
      matmul(dtype).a({900, 1100}).b({1100}).check_all({threads});
      matmul(dtype).a({3, 90, 80}).b({3, 80, 170}).check_all({threads});
      matmul(dtype).a({40, 40, 40}).b({40, 40, 40}, Lie::transposed).check_all({threads});
      linear(dtype).a({100, 300}).b({90, 300}).bias({90}).out(Lie::padded).check_all({threads});
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Gemm, RunsOnAThreadPool) {
  ThreadPool pool(3);
  for (int i = 0; i < 3; ++i) {
    matmul(MILL_F32).a({150, 130}).b({130, 200}).check_all({3, nullptr, &pool});
    linear(MILL_BF16).a({150, 130}).b({100, 130}).bias({100}).check_all({3, nullptr, &pool});
  }
}

TEST(Gemm, InfinityAndNanReachOnlyTheirOwnRowsAndColumns) {
  for (const Target& target : targets()) {
    const mill_kernel kernel = find(target.kernels, MILL_OP_MATMUL, MILL_F32);
    Tensor a(MILL_F32, {20, 20}, {20, 1});
    Tensor b(MILL_F32, {20, 35}, {35, 1});
    Tensor out(MILL_F32, {20, 35}, {35, 1});
    for (int64_t i = 0; i < 400; ++i) a.set(i, 1);
    for (int64_t i = 0; i < 700; ++i) b.set(i, 1);
    a.set(3 * 20 + 5, std::numeric_limits<double>::quiet_NaN());
    b.set(7 * 35 + 34, std::numeric_limits<double>::infinity());
    mill_host_services host{};
    host.threads = 1;
    const mill_kernel_tensor* in[2] = {&a.view, &b.view};
    const mill_kernel_tensor* outs[1] = {&out.view};
    mill_kernel_error error{};
    mill_kernel_args args{};
    args.in = in;
    args.out = outs;
    args.n_in = 2;
    args.n_out = 1;
    args.host = &host;
    args.error = &error;
    std::vector<unsigned char> workspace(kernel.workspace(&args));
    args.workspace = workspace.data();
    args.workspace_bytes = workspace.size();
    ASSERT_EQ(kernel.launch(&args), MILL_OK);
    for (int64_t i = 0; i < 20; ++i) {
      for (int64_t j = 0; j < 35; ++j) {
        const double got = out.get(i * 35 + j);
        if (i == 3) {
          EXPECT_TRUE(std::isnan(got)) << target.name << " " << i << " " << j;
        } else if (j == 34) {
          EXPECT_TRUE(std::isinf(got)) << target.name << " " << i << " " << j;
        } else {
          EXPECT_EQ(got, 20) << target.name << " " << i << " " << j;
        }
      }
    }
  }
}

TEST(Gemm, SaysSoWhenTheWorkspaceIsTooSmall) {
  const Target& target = targets().front();
  const mill_kernel kernel = find(target.kernels, MILL_OP_MATMUL, MILL_F32);
  Tensor a(MILL_F32, {20, 20}, {1, 20});
  Tensor out(MILL_F32, {20, 20}, {20, 1});
  mill_host_services host{};
  host.threads = 1;
  const mill_kernel_tensor* in[2] = {&a.view, &a.view};
  const mill_kernel_tensor* outs[1] = {&out.view};
  mill_kernel_error error{};
  mill_kernel_args args{};
  args.in = in;
  args.out = outs;
  args.n_in = 2;
  args.n_out = 1;
  args.host = &host;
  args.error = &error;
  ASSERT_GT(kernel.workspace(&args), 0u);
  EXPECT_EQ(kernel.launch(&args), MILL_E_INTERNAL);
  EXPECT_NE(std::string(error.text).find("workspace"), std::string::npos);
}

// ---- oneDNN ----

class OneDnnGemm : public testing::Test {
 protected:
  void SetUp() override {
    runtime_.onednn = &onednn_;
    runtime_.gemm_policy = kGemmOneDnn;
    if (!onednn_.supports(MILL_F32)) GTEST_SKIP() << onednn_.description();
  }
  OneDnn onednn_;
  Runtime runtime_;
};

TEST_F(OneDnnGemm, MatchesTheReferenceWhateverItIsGiven) {
  for (const int threads : {1, 3}) {
    for (const int32_t dtype : kDtypes) {
      for (const Lie a : kLies) {
        for (const Lie b : kLies) {
          const Options options{threads, &runtime_};
          matmul(dtype).a({60, 200}, a).b({200, 150}, b).check(targets().front(), options);
          matmul(dtype)
              .a({60, 70}, a)
              .b({70, 43}, b)
              .accumulate()
              .check(targets().front(), options);
          linear(dtype).a({33, 70}, a).b({65, 70}, b).bias({65}).check(targets().front(), options);
          linear(dtype)
              .a({33, 70}, a)
              .b({65, 70}, b)
              .bias({65})
              .out(Lie::padded)
              .accumulate()
              .check(targets().front(), options);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_F(OneDnnGemm, AutomaticChoiceMatchesTheReference) {
  runtime_.gemm_policy = kGemmAutomatic;
  for (const int32_t dtype : kDtypes) {
    matmul(dtype).a({150, 160}).b({160, 170}).check_all({2, &runtime_});
    linear(dtype).a({150, 160}).b({170, 160}).bias({170}).check_all({2, &runtime_});
    matmul(dtype).a({20, 1000}).b({1000, 1100}).check_all({16, &runtime_});
    matmul(dtype).a({300, 400}).b({400, 260}, Lie::transposed).check_all({16, &runtime_});
  }
}

TEST_F(OneDnnGemm, ComputesMoreShapesThanItRemembers) {
  for (int64_t m = 2; m < 300; ++m) {
    linear(MILL_F32).a({m, 12}).b({9, 12}).check(targets().front(), {1, &runtime_});
    if (HasFatalFailure()) return;
  }
}

TEST_F(OneDnnGemm, ServesSeveralThreadsAtOnce) {
  ThreadPool pool(4);
  for (int i = 0; i < 5; ++i) {
    linear(MILL_F32)
        .a({200, 150})
        .b({180, 150})
        .bias({180})
        .check(targets().front(), {4, &runtime_, &pool});
  }
}

int count_threads() {
  int count = 0;
  if (DIR* tasks = opendir("/proc/self/task")) {
    while (readdir(tasks) != nullptr) ++count;
    closedir(tasks);
  }
  return count - 2;
}

// The system may list a thread that has been joined for a moment longer: once that is over.
int count_threads_at_rest() {
  int threads = count_threads();
  for (int same = 0; same < 20; ++same) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (const int now = count_threads(); now != threads) {
      threads = now;
      same = 0;
    }
  }
  return threads;
}

TEST_F(OneDnnGemm, OpensNoParallelRegionAndKeepsTheCallersOpenMpSetting) {
  DynamicLibrary openmp("libgomp.so.1");
  int (*get)() = nullptr;
  void (*set)(int) = nullptr;
  if (!openmp.find("omp_get_max_threads", get) || !openmp.find("omp_set_num_threads", set)) {
    GTEST_SKIP() << openmp.reason();
  }
  const int original = get();
  set(4);
  const int threads = count_threads_at_rest();
  linear(MILL_F32).a({256, 300}).b({200, 300}).bias({200}).check(targets().front(), {1, &runtime_});
  matmul(MILL_F32).a({256, 300}).b({300, 200}).check(targets().front(), {1, &runtime_});
  EXPECT_EQ(count_threads(), threads);
  EXPECT_EQ(get(), 4);
  set(original);
}

TEST(OneDnn, SaysInWordsWhatItIs) {
  OneDnn onednn;
  const std::string text = onednn.description();
  EXPECT_FALSE(text.empty());
  EXPECT_FALSE(onednn.supports(MILL_F64));
  EXPECT_STREQ(onednn.description(), text.c_str());
}

}  // namespace
}  // namespace mill::cpu
