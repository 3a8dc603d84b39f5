/* Millrace for C++17: the C ABI with destructors, exceptions and default arguments. Header-only.
 *
 * Copyright 2026 The Millrace authors. SPDX-License-Identifier: Apache-2.0
 *
 * Everything here is inline code of the program that includes it: only the C functions of
 * millrace.h are called in the library, so a program built with one compiler or standard library
 * works with a Millrace built with another.
 *
 * HANDLES. Context, Exec, Tensor, ... own one reference each. They move and do not copy; share()
 * makes a second one. get() lends the C handle to any function of millrace.h, adopt() takes over a
 * reference that such a function gave. A default-constructed or moved-from handle is empty: false
 * in a condition, NULL to the library.
 *
 * ERRORS. A negative status becomes an Error, whose what() is the library's sentence. Conditions
 * (end of an epoch, not ready) are return values. Destructors never throw.
 *
 * OPS. The usual ones are functions with the defaults that docs/ops.md calls usual: y =
 * matmul(exec, a, b). Every other, also one that a later header adds, is call<mill_name>(exec,
 * ...): inputs and attributes in the C function's order, Dims for a pointer and a count, and the
 * outputs as the result (a std::array if there are several). Results are always new tensors; to
 * write into a given one, call the C function.
 *
 * SCOPES. mill_scope_begin / end are for languages without destructors: do not use them together
 * with these classes, both would release the same reference.
 */
#ifndef MILL_MILLRACE_HPP
#define MILL_MILLRACE_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "millrace/millrace.h"

namespace millrace {

// ---- errors -------------------------------------------------------------------------------------

class Error : public std::runtime_error {
 public:
  Error(mill_status status, const mill_error* from)
      : std::runtime_error(text(status, from)),
        status_(status),
        argument_(from ? mill_error_argument(from) : -1) {}
  mill_status status() const noexcept { return status_; }  // MILL_E_...
  int32_t argument() const noexcept { return argument_; }  // which one was wrong, -1 if none

 private:
  // Without an object (no memory was left for one) the status' name has to do.
  static std::string text(mill_status status, const mill_error* from) {
    const char* message = mill_error_message(from);
    return *message != 0 ? message : mill_status_name(status);
  }

  mill_status status_;
  int32_t argument_;
};

namespace detail {

// The calling thread's error object, so that a call which succeeds allocates nothing.
inline mill_error* slot() {
  struct Slot {
    Slot() { mill_error_create(&error); }
    ~Slot() { mill_error_release(error); }
    mill_error* error = nullptr;
  };
  thread_local Slot own;
  return own.error;
}

// Runs f(mill_error*), returns its status if it is no error.
template <class F>
mill_status check(F&& f) {
  mill_error* error = slot();
  const mill_status status = f(error);
  if (status < 0) throw Error(status, error);
  return status;
}

// The handle that f(H** out, mill_error*) gives.
template <class H, class F>
H* made(F&& f) {
  H* out = nullptr;
  check([&](mill_error* error) { return f(&out, error); });
  return out;
}

// A library struct that begins with mill_struct, all else zero.
template <class T>
T sized(uint32_t type) {
  T out{};
  out.size = sizeof(T);
  out.type = type;
  return out;
}

}  // namespace detail

template <class Self, class H, void (*kRetain)(H*), void (*kRelease)(H*)>
class Handle {
 public:
  Handle() noexcept = default;
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      kRelease(handle_);
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { kRelease(handle_); }

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  H* get() const noexcept { return handle_; }
  H* release() noexcept { return std::exchange(handle_, nullptr); }  // the caller owns it now
  void reset() noexcept { kRelease(std::exchange(handle_, nullptr)); }
  Self share() const noexcept {
    if (handle_) kRetain(handle_);
    return adopt(handle_);
  }
  static Self adopt(H* owned) noexcept {
    Self self;
    self.handle_ = owned;
    return self;
  }

 private:
  H* handle_ = nullptr;
};

// ---- shapes and element types -------------------------------------------------------------------

// Sizes or strides as a call takes them. One entry more than the limit, so that the library can say
// what is wrong.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> values) : Dims(values.begin(), values.size()) {}
  Dims(const std::vector<int64_t>& values)
      : Dims(values.data(), values.size()) {}  // NOLINT: converts on purpose
  Dims(const int64_t* values, std::size_t count) {
    for (; count_ < count && count_ < values_.size(); ++count_) values_[count_] = values[count_];
  }
  const int64_t* data() const noexcept { return values_.data(); }
  uint32_t size() const noexcept { return count_; }

 private:
  std::array<int64_t, MILL_MAX_RANK + 1> values_{};
  uint32_t count_ = 0;
};

template <class T>
constexpr mill_dtype dtype_of() {
  if constexpr (std::is_same_v<T, bool>) return MILL_BOOL;
  if constexpr (std::is_same_v<T, float>) return MILL_F32;
  if constexpr (std::is_same_v<T, double>) return MILL_F64;
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    constexpr bool s = std::is_signed_v<T>;
    switch (sizeof(T)) {
      case 1: return s ? MILL_I8 : MILL_U8;
      case 2: return s ? MILL_I16 : MILL_U16;
      case 4: return s ? MILL_I32 : MILL_U32;
      default: return s ? MILL_I64 : MILL_U64;
    }
  }
  return MILL_DTYPE_NONE;
}

// ---- contexts and execs -------------------------------------------------------------------------

class Context : public Handle<Context, mill_context, mill_context_retain, mill_context_release> {
 public:
  // Not the default constructor, which makes an empty handle.
  static Context create() {
    return adopt(detail::made<mill_context>(
        [](mill_context** out, mill_error* e) { return mill_context_create(nullptr, out, e); }));
  }
  static Context create(mill_context_opts opts) {
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_CONTEXT_OPTS;
    return adopt(detail::made<mill_context>(
        [&](mill_context** out, mill_error* e) { return mill_context_create(&opts, out, e); }));
  }
  uint32_t device_count() const {
    uint32_t n = 0;
    detail::check([&](mill_error* e) { return mill_device_count(get(), &n, e); });
    return n;
  }
  mill_device_info device(uint32_t index) const {
    auto info = detail::sized<mill_device_info>(MILL_STRUCT_DEVICE_INFO);
    detail::check([&](mill_error* e) { return mill_device_query(get(), index, &info, e); });
    return info;
  }
  mill_memory_stats memory(uint32_t device = 0) const {
    auto stats = detail::sized<mill_memory_stats>(MILL_STRUCT_MEMORY_STATS);
    detail::check([&](mill_error* e) { return mill_memory_stats_query(get(), device, &stats, e); });
    return stats;
  }
  void trace(uint64_t mask) {
    detail::check([&](mill_error* e) { return mill_trace_set_mask(get(), mask, e); });
  }
  // Totals per op, most time first.
  std::vector<mill_trace_op_row> op_stats() const {
    std::vector<mill_trace_op_row> rows(128);
    for (;;) {
      const auto room = static_cast<uint32_t>(rows.size());
      uint32_t n = 0;
      const mill_status status = detail::check(
          [&](mill_error* e) { return mill_trace_op_stats(get(), rows.data(), room, &n, e); });
      rows.resize(n);
      if (status != MILL_INCOMPLETE) return rows;
    }
  }
};

class Stream : public Handle<Stream, mill_stream, mill_stream_retain, mill_stream_release> {
 public:
  static Stream create(const Context& context, uint32_t device = 0) {
    return adopt(detail::made<mill_stream>([&](mill_stream** out, mill_error* e) {
      return mill_stream_create(context.get(), device, out, e);
    }));
  }
  void wait() {
    detail::check([&](mill_error* e) { return mill_stream_wait(get(), e); });
  }
};

class Event : public Handle<Event, mill_event, mill_event_retain, mill_event_release> {
 public:
  static Event create(const Stream& stream) {
    return adopt(detail::made<mill_event>(
        [&](mill_event** out, mill_error* e) { return mill_event_create(stream.get(), out, e); }));
  }
  void record(const Stream& stream) {
    detail::check([&](mill_error* e) { return mill_event_record(get(), stream.get(), e); });
  }
  bool happened() const {
    return detail::check([&](mill_error* e) { return mill_event_query(get(), e); }) == MILL_OK;
  }
  // False when it has not happened after timeout_ns.
  bool wait(uint64_t timeout_ns = UINT64_MAX) const {
    return detail::check([&](mill_error* e) { return mill_event_wait(get(), timeout_ns, e); }) ==
           MILL_OK;
  }
};

class Exec;
class Generator;

class Exec : public Handle<Exec, mill_exec, mill_exec_retain, mill_exec_release> {
 public:
  static Exec create(const Context& context, uint32_t device = 0, const Stream& stream = Stream()) {
    return adopt(detail::made<mill_exec>([&](mill_exec** out, mill_error* e) {
      return mill_exec_create(context.get(), device, stream.get(), out, e);
    }));
  }
  inline void set_generator(const Generator& generator);
  void set_tag(const char* tag) {
    detail::check([&](mill_error* e) { return mill_exec_set_tag(get(), tag, e); });
  }
  // MILL_BF16, MILL_F16, or MILL_DTYPE_NONE for off.
  void set_autocast(mill_dtype dtype) {
    detail::check([&](mill_error* e) { return mill_exec_set_autocast(get(), dtype, e); });
  }
  void trace_step() {
    detail::check([&](mill_error* e) { return mill_trace_step(get(), e); });
  }
  void wait() {
    detail::check([&](mill_error* e) { return mill_exec_wait(get(), e); });
  }
};

class Generator
    : public Handle<Generator, mill_generator, mill_generator_retain, mill_generator_release> {
 public:
  static Generator create(const Exec& exec, uint64_t seed) {
    return adopt(detail::made<mill_generator>([&](mill_generator** out, mill_error* e) {
      return mill_generator_create(exec.get(), seed, out, e);
    }));
  }
};

inline void Exec::set_generator(const Generator& generator) {
  detail::check([&](mill_error* e) { return mill_exec_set_generator(get(), generator.get(), e); });
}

// ---- tensors ------------------------------------------------------------------------------------

// Values on their way to the host.
class Future : public Handle<Future, mill_future, mill_future_retain, mill_future_release> {
 public:
  bool ready() const {
    return detail::check([&](mill_error* e) { return mill_future_query(get(), e); }) == MILL_OK;
  }
  // False when they are not there after timeout_ns.
  bool wait(uint64_t timeout_ns = UINT64_MAX) const {
    return detail::check([&](mill_error* e) { return mill_future_wait(get(), timeout_ns, e); }) ==
           MILL_OK;
  }
  // Waits, then lends the values for as long as the future lives.
  template <class T>
  const T* data() const {
    const void* values = nullptr;
    uint64_t bytes = 0;
    wait();
    detail::check([&](mill_error* e) { return mill_future_data(get(), &values, &bytes, e); });
    return static_cast<const T*>(values);
  }
};

class Tensor : public Handle<Tensor, mill_tensor, mill_tensor_retain, mill_tensor_release> {
 public:
  static Tensor create(const Exec& exec, mill_dtype dtype, const Dims& dims) {
    return adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
      return mill_tensor_create(exec.get(), dtype, dims.data(), dims.size(), out, e);
    }));
  }
  // A copy of `count` elements in row-major order.
  template <class T>
  static Tensor from(const Exec& exec, const Dims& dims, const T* data, std::size_t count) {
    static_assert(dtype_of<T>() != MILL_DTYPE_NONE, "no Millrace dtype is stored like this type");
    return adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
      return mill_tensor_from_host(exec.get(), dtype_of<T>(), dims.data(), dims.size(), data,
                                   count * sizeof(T), out, e);
    }));
  }
  template <class T>
  static Tensor from(const Exec& exec, const Dims& dims, const std::vector<T>& data) {
    return from(exec, dims, data.data(), data.size());
  }

  mill_dtype dtype() const noexcept { return mill_tensor_dtype(get()); }
  uint32_t rank() const noexcept { return mill_tensor_rank(get()); }
  int64_t count() const noexcept { return mill_tensor_count(get()); }
  int64_t dim(int32_t axis) const noexcept { return mill_tensor_dim(get(), axis); }
  Dims dims() const {
    int64_t sizes[MILL_MAX_RANK];
    uint32_t n = 0;
    detail::check([&](mill_error* e) {
      return mill_tensor_shape(get(), sizes, nullptr, MILL_MAX_RANK, &n, e);
    });
    return Dims(sizes, n);
  }

  // Not recorded on a tape: see mill_tensor_view.
  Tensor view(const Dims& dims, const Dims& strides, int64_t offset = 0) const {
    if (dims.size() != strides.size())
      throw std::invalid_argument("view: as many strides as dims are needed");
    return adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
      return mill_tensor_view(get(), dims.data(), strides.data(), dims.size(), offset, out, e);
    }));
  }
  Tensor detach() const {
    return adopt(detail::made<mill_tensor>(
        [&](mill_tensor** out, mill_error* e) { return mill_tensor_detach(get(), out, e); }));
  }

  // The one element, as a double. Waits for it.
  double item(const Exec& exec) const {
    double value = 0;
    detail::check([&](mill_error* e) { return mill_tensor_item(exec.get(), get(), &value, e); });
    return value;
  }
  // All elements in row-major order; T must be what dtype() says. Waits for them.
  template <class T>
  std::vector<T> read(const Exec& exec) const {
    static_assert(!std::is_same_v<T, bool>, "read booleans as uint8_t");
    if (dtype() != dtype_of<T>() && !(dtype() == MILL_BOOL && std::is_same_v<T, uint8_t>)) {
      throw std::invalid_argument(std::string("read: the tensor is ") + mill_dtype_name(dtype()) +
                                  ", not " + mill_dtype_name(dtype_of<T>()));
    }
    std::vector<T> values(static_cast<std::size_t>(count()));
    detail::check([&](mill_error* e) {
      return mill_tensor_read(exec.get(), get(), values.data(), values.size() * sizeof(T), e);
    });
    return values;
  }
  Future read_async(const Exec& exec) const {
    return Future::adopt(detail::made<mill_future>([&](mill_future** out, mill_error* e) {
      return mill_tensor_read_async(exec.get(), get(), out, e);
    }));
  }
  template <class T>
  void write(const Exec& exec, const std::vector<T>& values) {
    detail::check([&](mill_error* e) {
      return mill_tensor_write(exec.get(), get(), values.data(), values.size() * sizeof(T), e);
    });
  }
};

// ---- ops ----------------------------------------------------------------------------------------

namespace detail {

// What an argument of call<> becomes in the C function's list of parameters.
inline std::tuple<mill_tensor*> flat(const Tensor& tensor) {
  return {tensor.get()};
}
inline std::tuple<std::nullptr_t> flat(std::nullptr_t) {
  return {nullptr};
}
inline std::tuple<const int64_t*, uint32_t> flat(const Dims& dims) {
  return {dims.data(), dims.size()};
}
inline std::tuple<mill_tensor* const*, uint32_t> flat(const std::vector<mill_tensor*>& list) {
  return {list.data(), static_cast<uint32_t>(list.size())};
}
inline std::tuple<mill_bool> flat(bool on) {
  return {on ? 1u : 0u};
}
template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
std::tuple<T> flat(T value) {
  return {value};
}

template <class F>
struct Arity;
template <class... P>
struct Arity<mill_status (*)(P...)> : std::integral_constant<std::size_t, sizeof...(P)> {};

}  // namespace detail

// Runs an op by its C function: call<mill_matmul>(exec, a, b).
template <auto Function, class... Args>
auto call(const Exec& exec, const Args&... args) {
  const auto parameters = std::tuple_cat(detail::flat(args)...);
  constexpr std::size_t given =
      std::tuple_size_v<decltype(parameters)> + 2;  // with exec and the error
  constexpr std::size_t all = detail::Arity<decltype(Function)>::value;
  static_assert(all > given, "too many arguments for this op");
  std::array<mill_tensor*, all - given> out{};
  const auto outputs = std::apply([](auto&... o) { return std::make_tuple(&o...); }, out);
  detail::check([&](mill_error* e) {
    return std::apply(Function, std::tuple_cat(std::make_tuple(exec.get()), parameters, outputs,
                                               std::make_tuple(e)));
  });
  if constexpr (all - given == 1) {
    return Tensor::adopt(out[0]);
  } else {
    return std::apply(
        [](auto*... o) { return std::array<Tensor, all - given>{Tensor::adopt(o)...}; }, out);
  }
}

// clang-format off
inline Tensor fill(const Exec& x, const Dims& dims, double value, mill_dtype dtype = MILL_F32) { return call<mill_fill>(x, dims, dtype, value); }
inline Tensor arange(const Exec& x, int64_t count, double start = 0, double step = 1, mill_dtype dtype = MILL_F32) { return call<mill_arange>(x, count, start, step, dtype); }
inline Tensor uniform(const Exec& x, const Dims& dims, double low = 0, double high = 1, mill_dtype dtype = MILL_F32) { return call<mill_uniform>(x, nullptr, dims, dtype, low, high); }
inline Tensor normal(const Exec& x, const Dims& dims, double mean = 0, double std = 1, mill_dtype dtype = MILL_F32) { return call<mill_normal>(x, nullptr, dims, dtype, mean, std); }
inline Tensor dropout(const Exec& x, const Tensor& a, double p = 0.5) { return call<mill_dropout>(x, a, nullptr, p); }
inline Tensor cast(const Exec& x, const Tensor& a, mill_dtype dtype) { return call<mill_cast>(x, a, dtype); }
inline Tensor copy(const Exec& x, const Tensor& a) { return call<mill_copy>(x, a); }
inline Tensor contiguous(const Exec& x, const Tensor& a) { return call<mill_contiguous>(x, a); }
inline Tensor reshape(const Exec& x, const Tensor& a, const Dims& dims) { return call<mill_reshape>(x, a, dims); }
inline Tensor permute(const Exec& x, const Tensor& a, const Dims& axes) { return call<mill_permute>(x, a, axes); }
inline Tensor expand(const Exec& x, const Tensor& a, const Dims& dims) { return call<mill_expand>(x, a, dims); }
inline Tensor slice(const Exec& x, const Tensor& a, int64_t axis, int64_t start = 0, int64_t stop = INT64_MAX, int64_t step = 1) { return call<mill_slice>(x, a, axis, start, stop, step); }
inline Tensor concat(const Exec& x, const std::vector<mill_tensor*>& list, int64_t axis = 0) { return call<mill_concat>(x, list, axis); }
inline Tensor neg(const Exec& x, const Tensor& a) { return call<mill_neg>(x, a); }
inline Tensor exp(const Exec& x, const Tensor& a) { return call<mill_exp>(x, a); }
inline Tensor log(const Exec& x, const Tensor& a) { return call<mill_log>(x, a); }
inline Tensor sqrt(const Exec& x, const Tensor& a) { return call<mill_sqrt>(x, a); }
inline Tensor rsqrt(const Exec& x, const Tensor& a) { return call<mill_rsqrt>(x, a); }
inline Tensor tanh(const Exec& x, const Tensor& a) { return call<mill_tanh>(x, a); }
inline Tensor sigmoid(const Exec& x, const Tensor& a) { return call<mill_sigmoid>(x, a); }
inline Tensor relu(const Exec& x, const Tensor& a) { return call<mill_relu>(x, a); }
inline Tensor gelu(const Exec& x, const Tensor& a, bool tanh = false) { return call<mill_gelu>(x, a, tanh); }
inline Tensor softplus(const Exec& x, const Tensor& a) { return call<mill_softplus>(x, a); }
inline Tensor abs(const Exec& x, const Tensor& a) { return call<mill_abs>(x, a); }
inline Tensor sign(const Exec& x, const Tensor& a) { return call<mill_sign>(x, a); }
inline Tensor affine(const Exec& x, const Tensor& a, double scale = 1, double shift = 0) { return call<mill_affine>(x, a, scale, shift); }
inline Tensor add(const Exec& x, const Tensor& a, const Tensor& b) { return call<mill_add>(x, a, b); }
inline Tensor sub(const Exec& x, const Tensor& a, const Tensor& b) { return call<mill_sub>(x, a, b); }
inline Tensor mul(const Exec& x, const Tensor& a, const Tensor& b) { return call<mill_mul>(x, a, b); }
inline Tensor div(const Exec& x, const Tensor& a, const Tensor& b) { return call<mill_div>(x, a, b); }
inline Tensor pow(const Exec& x, const Tensor& a, const Tensor& b) { return call<mill_pow>(x, a, b); }
inline Tensor maximum(const Exec& x, const Tensor& a, const Tensor& b) { return call<mill_maximum>(x, a, b); }
inline Tensor minimum(const Exec& x, const Tensor& a, const Tensor& b) { return call<mill_minimum>(x, a, b); }
inline Tensor compare(const Exec& x, const Tensor& a, const Tensor& b, int64_t relation = MILL_COMPARE_EQ) { return call<mill_compare>(x, a, b, relation); }
inline Tensor where(const Exec& x, const Tensor& condition, const Tensor& a, const Tensor& b) { return call<mill_where>(x, condition, a, b); }
inline Tensor sum(const Exec& x, const Tensor& a, const Dims& axes = {}, bool keepdim = false) { return call<mill_sum>(x, a, axes, keepdim); }
inline Tensor mean(const Exec& x, const Tensor& a, const Dims& axes = {}, bool keepdim = false) { return call<mill_mean>(x, a, axes, keepdim); }
inline Tensor max(const Exec& x, const Tensor& a, const Dims& axes = {}, bool keepdim = false) { return call<mill_max>(x, a, axes, keepdim); }
inline Tensor argmax(const Exec& x, const Tensor& a, int64_t axis = -1, bool keepdim = false) { return call<mill_argmax>(x, a, axis, keepdim); }
inline Tensor matmul(const Exec& x, const Tensor& a, const Tensor& b) { return call<mill_matmul>(x, a, b); }
inline Tensor linear(const Exec& x, const Tensor& a, const Tensor& weight, const Tensor& bias = {}) { return call<mill_linear>(x, a, weight, bias); }
inline Tensor softmax(const Exec& x, const Tensor& a, int64_t axis = -1) { return call<mill_softmax>(x, a, axis); }
inline Tensor log_softmax(const Exec& x, const Tensor& a, int64_t axis = -1) { return call<mill_log_softmax>(x, a, axis); }
inline Tensor cross_entropy(const Exec& x, const Tensor& logits, const Tensor& labels, int64_t reduction = MILL_REDUCE_MEAN, double label_smoothing = 0, int64_t ignore_index = -100) { return std::move(call<mill_cross_entropy>(x, logits, labels, reduction, label_smoothing, ignore_index)[0]); }
inline Tensor layer_norm(const Exec& x, const Tensor& a, const Tensor& weight = {}, const Tensor& bias = {}, int64_t axes = 1, double eps = 1e-5) { return std::move(call<mill_layer_norm>(x, a, weight, bias, axes, eps)[0]); }
inline Tensor embedding(const Exec& x, const Tensor& weight, const Tensor& ids) { return call<mill_embedding>(x, weight, ids); }
// clang-format on

// ---- gradients ----------------------------------------------------------------------------------

class Tape : public Handle<Tape, mill_tape, mill_tape_retain, mill_tape_release> {
 public:
  static Tape create(const Context& context) {
    return adopt(detail::made<mill_tape>(
        [&](mill_tape** out, mill_error* e) { return mill_tape_create(context.get(), out, e); }));
  }
  void watch(const Tensor& tensor) {
    detail::check([&](mill_error* e) { return mill_tape_watch(get(), tensor.get(), e); });
  }
  void reset() {
    detail::check([&](mill_error* e) { return mill_tape_reset(get(), e); });
  }
  // 0 = none.
  void set_budget(uint64_t bytes) const {
    detail::check([&](mill_error* e) { return mill_tape_set_budget(get(), bytes, e); });
  }
  void backward(const Exec& exec, const Tensor& loss, const Tensor& seed = {}, uint64_t flags = 0) {
    detail::check([&](mill_error* e) {
      return mill_tape_backward(get(), exec.get(), loss.get(), seed.get(), flags, e);
    });
  }
  Tensor gradient_of(const Tensor& tensor) const {
    return Tensor::adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
      return mill_tape_gradient_of(get(), tensor.get(), out, e);
    }));
  }
};

// While it lives, ops on the exec are recorded on the tape; then the tape from before is put back.
class Recording {
 public:
  Recording(const Exec& exec, const Tape& tape) : exec_(exec.share()) {
    before_ = Tape::adopt(detail::made<mill_tape>(
        [&](mill_tape** out, mill_error* e) { return mill_exec_get_tape(exec.get(), out, e); }));
    detail::check([&](mill_error* e) { return mill_exec_set_tape(exec.get(), tape.get(), e); });
  }
  ~Recording() { mill_exec_set_tape(exec_.get(), before_.get(), nullptr); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  Exec exec_;
  Tape before_;
};

// ---- parameters and optimizers ------------------------------------------------------------------

class Group : public Handle<Group, mill_group, mill_group_retain, mill_group_release> {
 public:
  static Group create(const Context& context, mill_dtype dtype = MILL_F32) {
    return adopt(detail::made<mill_group>([&](mill_group** out, mill_error* e) {
      return mill_group_create(context.get(), dtype, out, e);
    }));
  }
  // Its index.
  uint32_t add(const std::string& name, const Dims& dims) {
    uint32_t index = 0;
    detail::check([&](mill_error* e) {
      return mill_group_add(get(), name.c_str(), dims.data(), dims.size(), &index, e);
    });
    return index;
  }
  // State that no gradient reaches, for checkpoints.
  void add_buffer(const std::string& name, const Tensor& tensor) {
    detail::check(
        [&](mill_error* e) { return mill_group_add_buffer(get(), name.c_str(), tensor.get(), e); });
  }
  void build(const Exec& exec) {
    detail::check([&](mill_error* e) { return mill_group_build(get(), exec.get(), e); });
  }
  void init(const Exec& exec, uint32_t index, int32_t kind, double a) {
    detail::check(
        [&](mill_error* e) { return mill_group_init(get(), exec.get(), index, kind, a, e); });
  }
  uint32_t count() const {
    uint32_t n = 0;
    detail::check([&](mill_error* e) { return mill_group_count(get(), &n, e); });
    return n;
  }
  Tensor param(uint32_t index) const {
    return Tensor::adopt(detail::made<mill_tensor>(
        [&](mill_tensor** out, mill_error* e) { return mill_group_param(get(), index, out, e); }));
  }
  // Empty when no backward has written it since the last step.
  Tensor gradient(uint32_t index) const {
    return Tensor::adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
      return mill_group_gradient(get(), index, out, e);
    }));
  }
  void clear_gradients() {
    detail::check([&](mill_error* e) { return mill_group_clear_gradients(get(), e); });
  }
};

class Optimizer
    : public Handle<Optimizer, mill_optimizer, mill_optimizer_retain, mill_optimizer_release> {
 public:
  static Optimizer adamw(const Exec& exec, const Group& group, double rate, double beta1 = 0.9,
                         double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0.01) {
    return adopt(detail::made<mill_optimizer>([&](mill_optimizer** out, mill_error* e) {
      return mill_optimizer_create_adamw(exec.get(), group.get(), rate, beta1, beta2, eps,
                                         weight_decay, out, e);
    }));
  }
  static Optimizer sgd(const Exec& exec, const Group& group, double rate, double momentum = 0,
                       double weight_decay = 0, bool nesterov = false) {
    return adopt(detail::made<mill_optimizer>([&](mill_optimizer** out, mill_error* e) {
      return mill_optimizer_create_sgd(exec.get(), group.get(), rate, momentum, weight_decay,
                                       nesterov ? 1u : 0u, out, e);
    }));
  }
  // flags: bits of mill_adam_flags.
  static Optimizer adam(const Exec& exec, const Group& group, double rate, double beta1 = 0.9,
                        double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0,
                        uint64_t flags = 0) {
    return adopt(detail::made<mill_optimizer>([&](mill_optimizer** out, mill_error* e) {
      return mill_optimizer_create_adam(exec.get(), group.get(), rate, beta1, beta2, eps,
                                        weight_decay, flags, out, e);
    }));
  }
  static Optimizer rmsprop(const Exec& exec, const Group& group, double rate, double alpha = 0.99,
                           double eps = 1e-8, double momentum = 0, double weight_decay = 0,
                           bool centered = false) {
    return adopt(detail::made<mill_optimizer>([&](mill_optimizer** out, mill_error* e) {
      return mill_optimizer_create_rmsprop(exec.get(), group.get(), rate, alpha, eps, momentum,
                                           weight_decay, centered ? 1u : 0u, out, e);
    }));
  }
  static Optimizer adagrad(const Exec& exec, const Group& group, double rate, double rate_decay = 0,
                           double initial = 0, double eps = 1e-10, double weight_decay = 0) {
    return adopt(detail::made<mill_optimizer>([&](mill_optimizer** out, mill_error* e) {
      return mill_optimizer_create_adagrad(exec.get(), group.get(), rate, rate_decay, initial, eps,
                                           weight_decay, out, e);
    }));
  }
  static Optimizer lion(const Exec& exec, const Group& group, double rate, double beta1 = 0.9,
                        double beta2 = 0.99, double weight_decay = 0) {
    return adopt(detail::made<mill_optimizer>([&](mill_optimizer** out, mill_error* e) {
      return mill_optimizer_create_lion(exec.get(), group.get(), rate, beta1, beta2, weight_decay,
                                        out, e);
    }));
  }
  void step(const Exec& exec) { set<mill_optimizer_step>(exec.get()); }
  void set_rate(const Exec& exec, double rate) { set<mill_optimizer_set_rate>(exec.get(), rate); }
  void set_cosine(int64_t warmup, int64_t total, double floor = 0) {
    set<mill_optimizer_set_schedule>(MILL_SCHEDULE_COSINE, warmup, total, floor);
  }
  void set_constant(int64_t warmup = 0) {
    set<mill_optimizer_set_schedule>(MILL_SCHEDULE_CONSTANT, warmup, 0, 0);
  }
  void set_schedule(int32_t shape, int64_t warmup, int64_t total = 0, double floor = 0,
                    double start = 0, int64_t period = 1, double factor = 1) {
    set<mill_optimizer_set_schedule_shape>(shape, warmup, total, floor, start, period, factor);
  }
  void set_dampening(double dampening) { set<mill_optimizer_set_dampening>(dampening); }
  void set_param_options(const Exec& exec, uint32_t index, double rate_factor,
                         double weight_decay) {
    set<mill_optimizer_set_param_options>(exec.get(), index, rate_factor, weight_decay);
  }
  void set_gradient_scale(double scale) { set<mill_optimizer_set_gradient_scale>(scale); }
  void set_clip_value(double limit) { set<mill_optimizer_set_clip_value>(limit); }
  void set_clip_norm(double max_norm) { set<mill_optimizer_set_clip_norm>(max_norm); }
  void set_ema(const Exec& exec, double decay, bool warm_up = false) {
    set<mill_optimizer_set_ema>(exec.get(), decay, warm_up ? 1u : 0u);
  }
  void swap_ema(const Exec& exec) { set<mill_optimizer_swap_ema>(exec.get()); }
  Tensor ema(uint32_t index) const {
    return Tensor::adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
      return mill_optimizer_ema(get(), index, out, e);
    }));
  }
  void set_loss_scale(const Exec& exec, double initial = 65536, double growth = 2,
                      double backoff = 0.5, int64_t interval = 2000) {
    set<mill_optimizer_set_loss_scale>(exec.get(), initial, growth, backoff, interval);
  }
  Tensor loss_scale() const {
    return Tensor::adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
      return mill_optimizer_loss_scale(get(), out, e);
    }));
  }
  int64_t steps() const {
    int64_t n = 0;
    detail::check([&](mill_error* e) { return mill_optimizer_steps(get(), &n, e); });
    return n;
  }

 private:
  template <auto kFunction, class... A>
  void set(A... values) {
    detail::check([&](mill_error* e) { return kFunction(get(), values..., e); });
  }
};

// ---- data and files -----------------------------------------------------------------------------

class Loader : public Handle<Loader, mill_loader, mill_loader_retain, mill_loader_release> {
 public:
  // flags: MILL_LOADER_...
  static Loader create(const Context& context, const std::vector<mill_tensor*>& columns,
                       int64_t batch, uint64_t flags = 0, uint64_t seed = 0) {
    auto opts = detail::sized<mill_loader_opts>(MILL_STRUCT_LOADER_OPTS);
    opts.batch = batch;
    opts.flags = flags;
    opts.seed = seed;
    return adopt(detail::made<mill_loader>([&](mill_loader** out, mill_error* e) {
      return mill_loader_create(context.get(), columns.data(),
                                static_cast<uint32_t>(columns.size()), &opts, out, e);
    }));
  }
  void transform(uint32_t column, mill_dtype dtype, double scale = 1, double shift = 0) {
    detail::check([&](mill_error* e) {
      return mill_loader_set_transform(get(), column, dtype, scale, shift, e);
    });
  }
  // The next batch, one tensor per element of `batch`; false (and empty tensors) at the end of an
  // epoch.
  template <std::size_t N>
  bool next(const Exec& exec, std::array<Tensor, N>& batch) {
    std::array<mill_tensor*, N> out{};
    const mill_status status = detail::check([&](mill_error* e) {
      return mill_loader_next(get(), exec.get(), out.data(), static_cast<uint32_t>(N), e);
    });
    for (std::size_t k = 0; k < N; ++k) batch[k] = Tensor::adopt(out[k]);
    return status != MILL_END;
  }
  int64_t batches() const {
    int64_t n = 0;
    detail::check([&](mill_error* e) { return mill_loader_batches(get(), &n, e); });
    return n;
  }
};

inline Tensor read_idx(const Context& context, const std::string& path) {
  return Tensor::adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
    return mill_idx_read(context.get(), path.data(), path.size(), out, e);
  }));
}

// A safetensors file.
class File : public Handle<File, mill_file, mill_file_retain, mill_file_release> {
 public:
  static File open(const Context& context, const std::string& path) {
    return adopt(detail::made<mill_file>([&](mill_file** out, mill_error* e) {
      return mill_file_open(context.get(), path.data(), path.size(), out, e);
    }));
  }
  std::vector<std::string> names() const {
    uint64_t n = 0;
    detail::check([&](mill_error* e) { return mill_file_count(get(), &n, e); });
    std::vector<std::string> all;
    for (uint64_t k = 0; k < n; ++k) {
      const char* name = nullptr;
      detail::check([&](mill_error* e) { return mill_file_name(get(), k, &name, nullptr, e); });
      all.emplace_back(name);
    }
    return all;
  }
  Tensor read(const Exec& exec, const std::string& name) const {
    uint64_t index = 0;
    detail::check(
        [&](mill_error* e) { return mill_file_find(get(), name.data(), name.size(), &index, e); });
    return Tensor::adopt(detail::made<mill_tensor>([&](mill_tensor** out, mill_error* e) {
      return mill_file_read(get(), exec.get(), index, out, e);
    }));
  }
};

// Parts that are empty are left out, as in mill_checkpoint_save.
inline void save_checkpoint(const Exec& exec, const std::string& path, const Group& group,
                            const Optimizer& optimizer = {}, const Generator& generator = {},
                            const Loader& loader = {}) {
  detail::check([&](mill_error* e) {
    return mill_checkpoint_save(exec.get(), path.data(), path.size(), group.get(), optimizer.get(),
                                generator.get(), loader.get(), e);
  });
}
inline void load_checkpoint(const Exec& exec, const std::string& path, const Group& group,
                            const Optimizer& optimizer = {}, const Generator& generator = {},
                            const Loader& loader = {}) {
  detail::check([&](mill_error* e) {
    return mill_checkpoint_load(exec.get(), path.data(), path.size(), group.get(), optimizer.get(),
                                generator.get(), loader.get(), e);
  });
}

}  // namespace millrace

#endif
