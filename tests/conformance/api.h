// The public ABI with owners: what the suites share. An unexpected status throws, which fails the
// test with the library's own sentence.
#pragma once

#include <regex.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "millrace/millrace.h"

namespace mill_test {

template <class T, void (*Release)(T*)>
class Owner {
 public:
  Owner() = default;
  explicit Owner(T* handle) : handle_(handle) {}
  Owner(Owner&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owner& operator=(Owner&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  ~Owner() { reset(); }

  T* get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }
  T* release() { return std::exchange(handle_, nullptr); }
  void reset() {
    if (handle_) Release(std::exchange(handle_, nullptr));
  }
  // For an output argument.
  T** out() {
    reset();
    return &handle_;
  }

 private:
  T* handle_ = nullptr;
};

using Context = Owner<mill_context, mill_context_release>;
using Exec = Owner<mill_exec, mill_exec_release>;
using Error = Owner<mill_error, mill_error_release>;
using Tensor = Owner<mill_tensor, mill_tensor_release>;
using Tape = Owner<mill_tape, mill_tape_release>;
using Group = Owner<mill_group, mill_group_release>;
using Optimizer = Owner<mill_optimizer, mill_optimizer_release>;
using Generator = Owner<mill_generator, mill_generator_release>;
using Loader = Owner<mill_loader, mill_loader_release>;
using PreparedCall = Owner<mill_call, mill_call_release>;

using Dims = std::vector<int64_t>;

inline int64_t count_of(const Dims& dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

inline std::string text_of(const Dims& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += (i > 0 ? "," : "") + std::to_string(dims[i]);
  return text + "]";
}

// Where the suites run: "cpu", or what mill_device_open takes. MILL_TEST_DEVICE, unless main says.
inline std::string& test_device() {
  static std::string device = [] {
    const char* text = std::getenv("MILL_TEST_DEVICE");
    return std::string(text && *text ? text : "cpu");
  }();
  return device;
}
// Only ops whose names match, a regular expression; "" for all.
inline std::string& test_ops() {
  static std::string expression;
  return expression;
}
// POSIX extended, since g++ 12 warns about std::regex under its sanitizers.
inline bool op_wanted(const char* name) {
  if (test_ops().empty()) return true;
  regex_t expression;
  if (regcomp(&expression, test_ops().c_str(), REG_EXTENDED | REG_NOSUB) != 0)
    throw std::runtime_error("--op " + test_ops() + " is no regular expression");
  const bool found = regexec(&expression, name, 0, nullptr, 0) == 0;
  regfree(&expression);
  return found;
}

// A context with one exec and the error object that every call gets.
class World {
 public:
  explicit World(uint32_t threads = MILL_THREADS_CALLER_ONLY, int32_t gemm = MILL_GEMM_AUTO) {
    if (mill_error_create(error_.out()) != MILL_OK)
      throw std::runtime_error("mill_error_create failed");
    mill_context_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_CONTEXT_OPTS;
    opts.threads = threads;
    opts.gemm = gemm;
    ok(mill_context_create(&opts, context_.out(), error()));
    if (test_device() != "cpu")
      ok(mill_device_open(context(), test_device().c_str(), MILL_NTS, &device_, error()));
    ok(mill_exec_create(context(), device_, nullptr, exec_.out(), error()));
  }

  mill_context* context() const { return context_.get(); }
  mill_exec* exec() const { return exec_.get(); }
  uint32_t device() const { return device_; }
  mill_error* error() const { return error_.get(); }
  std::string message() const { return mill_error_message(error()); }

  // Whether values in device memory are seen by the host only later.
  bool asynchronous() const { return device_ != 0; }
  // What a call says about values that it read: at once on the CPU, by the next wait elsewhere.
  mill_status about_values(mill_status status) const {
    return asynchronous() && status == MILL_OK ? mill_exec_wait(exec(), error()) : status;
  }

  void ok(mill_status status) const {
    if (status < 0) throw std::runtime_error("status " + std::to_string(status) + ": " + message());
  }

 private:
  Error error_;
  Context context_;
  Exec exec_;
  uint32_t device_ = 0;
};

// One world per number of threads for the whole run.
inline World& world(uint32_t threads = MILL_THREADS_CALLER_ONLY) {
  static std::map<uint32_t, std::unique_ptr<World>> worlds;
  std::unique_ptr<World>& slot = worlds[threads];
  if (!slot) slot = std::make_unique<World>(threads);
  return *slot;
}

inline Dims dims_of(const mill_tensor* tensor) {
  Dims dims;
  for (uint32_t i = 0; i < mill_tensor_rank(tensor); ++i)
    dims.push_back(mill_tensor_dim(tensor, static_cast<int32_t>(i)));
  return dims;
}

template <class T>
struct DtypeOf;
template <>
struct DtypeOf<float> {
  static constexpr mill_dtype value = MILL_F32;
};
template <>
struct DtypeOf<double> {
  static constexpr mill_dtype value = MILL_F64;
};
template <>
struct DtypeOf<int64_t> {
  static constexpr mill_dtype value = MILL_I64;
};
template <>
struct DtypeOf<int32_t> {
  static constexpr mill_dtype value = MILL_I32;
};
template <>
struct DtypeOf<uint8_t> {
  static constexpr mill_dtype value = MILL_U8;
};
template <>
struct DtypeOf<int8_t> {
  static constexpr mill_dtype value = MILL_I8;
};

template <class T>
Tensor make(World& w, const Dims& dims, const std::vector<T>& values) {
  Tensor tensor;
  w.ok(mill_tensor_from_host(w.exec(), DtypeOf<T>::value, dims.data(),
                             static_cast<uint32_t>(dims.size()), values.data(),
                             values.size() * sizeof(T), tensor.out(), w.error()));
  return tensor;
}

template <class T>
std::vector<T> values_of(World& w, mill_tensor* tensor) {
  std::vector<T> values(static_cast<size_t>(mill_tensor_count(tensor)));
  w.ok(mill_tensor_read(w.exec(), tensor, values.data(), values.size() * sizeof(T), w.error()));
  return values;
}

inline double item(World& w, mill_tensor* tensor) {
  double value = 0;
  w.ok(mill_tensor_item(w.exec(), tensor, &value, w.error()));
  return value;
}

// One op by number with outputs allocated by the library.
inline std::vector<Tensor> invoke(World& w, int32_t op, const std::vector<mill_tensor*>& in,
                                  const std::vector<mill_attr>& attrs, uint32_t n_outputs) {
  std::vector<mill_tensor*> raw(n_outputs, nullptr);
  w.ok(mill_op_invoke(w.exec(), op, in.data(), static_cast<uint32_t>(in.size()), attrs.data(),
                      static_cast<uint32_t>(attrs.size()), raw.data(), n_outputs, w.error()));
  std::vector<Tensor> out;
  for (mill_tensor* tensor : raw) out.emplace_back(tensor);
  return out;
}

}  // namespace mill_test
