// Small helpers that build expressions through the flat functions.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "conformance/api.h"
#include "conformance/problem.h"

namespace mill_test {

// A tape that records on the world's exec while it lives.
class Recording {
 public:
  explicit Recording(World& w) : w_(w) {
    w.ok(mill_tape_create(w.context(), tape_.out(), w.error()));
    on();
  }
  ~Recording() { mill_exec_set_tape(w_.exec(), nullptr, nullptr); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  mill_tape* get() const { return tape_.get(); }
  void on() { w_.ok(mill_exec_set_tape(w_.exec(), tape_.get(), w_.error())); }
  void off() { w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error())); }
  void watch(const Tensor& x) { w_.ok(mill_tape_watch(tape_.get(), x.get(), w_.error())); }
  uint64_t count() {
    uint64_t n = 0;
    w_.ok(mill_tape_count(tape_.get(), &n, w_.error()));
    return n;
  }
  mill_status backward(const Tensor& loss, uint64_t flags = 0) {
    return mill_tape_backward(tape_.get(), w_.exec(), loss.get(), nullptr, flags, w_.error());
  }
  Tensor gradient_of(const Tensor& x) {
    Tensor out;
    w_.ok(mill_tape_gradient_of(tape_.get(), x.get(), out.out(), w_.error()));
    return out;
  }
  // Functional form, by one tensor.
  Tensor gradient(const Tensor& y, const Tensor& x) {
    mill_tensor* in = x.get();
    Tensor out;
    w_.ok(mill_tape_gradient(tape_.get(), w_.exec(), y.get(), nullptr, &in, 1, out.out(),
                             w_.error()));
    return out;
  }

 private:
  World& w_;
  Tape tape_;
};

// Ops whose names would hide the ABI's are members of a namespace of their own.
namespace op {

inline Tensor mul(World& w, const Tensor& a, const Tensor& b) {
  Tensor out;
  w.ok(mill_mul(w.exec(), a.get(), b.get(), out.out(), w.error()));
  return out;
}
inline Tensor add(World& w, const Tensor& a, const Tensor& b) {
  Tensor out;
  w.ok(mill_add(w.exec(), a.get(), b.get(), out.out(), w.error()));
  return out;
}
inline Tensor sub(World& w, const Tensor& a, const Tensor& b) {
  Tensor out;
  w.ok(mill_sub(w.exec(), a.get(), b.get(), out.out(), w.error()));
  return out;
}
inline Tensor div(World& w, const Tensor& a, const Tensor& b) {
  Tensor out;
  w.ok(mill_div(w.exec(), a.get(), b.get(), out.out(), w.error()));
  return out;
}
inline Tensor matmul(World& w, const Tensor& a, const Tensor& b) {
  Tensor out;
  w.ok(mill_matmul(w.exec(), a.get(), b.get(), out.out(), w.error()));
  return out;
}
inline Tensor linear(World& w, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Tensor out;
  w.ok(mill_linear(w.exec(), x.get(), weight.get(), bias.get(), out.out(), w.error()));
  return out;
}
inline Tensor sum(World& w, const Tensor& x) {
  Tensor out;
  w.ok(mill_sum(w.exec(), x.get(), nullptr, 0, 0, out.out(), w.error()));
  return out;
}
inline Tensor exp(World& w, const Tensor& x) {
  Tensor out;
  w.ok(mill_exp(w.exec(), x.get(), out.out(), w.error()));
  return out;
}
inline Tensor tanh(World& w, const Tensor& x) {
  Tensor out;
  w.ok(mill_tanh(w.exec(), x.get(), out.out(), w.error()));
  return out;
}
inline Tensor gelu(World& w, const Tensor& x) {
  Tensor out;
  w.ok(mill_gelu(w.exec(), x.get(), 0, out.out(), w.error()));
  return out;
}
inline Tensor softmax(World& w, const Tensor& x) {
  Tensor out;
  w.ok(mill_softmax(w.exec(), x.get(), -1, out.out(), w.error()));
  return out;
}
inline Tensor permute(World& w, const Tensor& x, const Dims& axes) {
  Tensor out;
  w.ok(mill_permute(w.exec(), x.get(), axes.data(), static_cast<uint32_t>(axes.size()), out.out(),
                    w.error()));
  return out;
}
inline Tensor reshape(World& w, const Tensor& x, const Dims& dims) {
  Tensor out;
  w.ok(mill_reshape(w.exec(), x.get(), dims.data(), static_cast<uint32_t>(dims.size()), out.out(),
                    w.error()));
  return out;
}
inline Tensor slice(World& w, const Tensor& x, int64_t axis, int64_t start, int64_t stop,
                    int64_t step) {
  Tensor out;
  w.ok(mill_slice(w.exec(), x.get(), axis, start, stop, step, out.out(), w.error()));
  return out;
}
inline Tensor layer_norm(World& w, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Tensor out, mean, rstd;
  w.ok(mill_layer_norm(w.exec(), x.get(), weight.get(), bias.get(), 1, 1e-5, out.out(), mean.out(),
                       rstd.out(), w.error()));
  return out;
}
inline Tensor cross_entropy(World& w, const Tensor& logits, const Tensor& labels) {
  Tensor loss, lse;
  w.ok(mill_cross_entropy(w.exec(), logits.get(), labels.get(), MILL_REDUCE_MEAN, 0, -100,
                          loss.out(), lse.out(), w.error()));
  return loss;
}
inline Tensor embedding(World& w, const Tensor& weight, const Tensor& ids) {
  Tensor out;
  w.ok(mill_embedding(w.exec(), weight.get(), ids.get(), out.out(), w.error()));
  return out;
}

}  // namespace op

inline std::vector<double> doubles(World& w, const Tensor& x) {
  return values_of<double>(w, x.get());
}

inline Tensor f64(World& w, const Dims& dims, const std::vector<double>& values) {
  return make<double>(w, dims, values);
}

inline std::vector<double> random_values(uint64_t seed, size_t n, double low = -1,
                                         double high = 1) {
  Random random(seed);
  std::vector<double> out(n);
  for (double& x : out) x = random.between(low, high);
  return out;
}

struct NamedDims {
  std::string name;
  Dims dims;
};

// A built group of these parameters, filled with random values from the seed.
class Parameters {
 public:
  Parameters(World& w, mill_dtype dtype, const std::vector<NamedDims>& list, uint64_t seed = 5)
      : w_(w), dtype_(dtype) {
    w.ok(mill_group_create(w.context(), dtype, group_.out(), w.error()));
    for (const NamedDims& one : list) {
      w.ok(mill_group_add(group_.get(), one.name.c_str(), one.dims.data(),
                          static_cast<uint32_t>(one.dims.size()), nullptr, w.error()));
    }
    w.ok(mill_group_build(group_.get(), w.exec(), w.error()));
    for (uint32_t k = 0; k < list.size(); ++k) {
      Tensor param;
      w.ok(mill_group_param(group_.get(), k, param.out(), w.error()));
      tensors_.push_back(std::move(param));
      set(k, random_values(seed + k, static_cast<size_t>(count_of(list[k].dims))));
    }
  }

  mill_group* get() const { return group_.get(); }
  uint32_t count() const { return static_cast<uint32_t>(tensors_.size()); }
  const Tensor& operator[](uint32_t k) const { return tensors_[k]; }

  void set(uint32_t k, const std::vector<double>& values) {
    std::vector<unsigned char> bytes(values.size() * dtype_bytes(dtype_));
    for (size_t i = 0; i < values.size(); ++i)
      encode_float(dtype_, values[i], bytes.data() + i * dtype_bytes(dtype_));
    // Parameters are written with the tape off.
    Tape tape;
    w_.ok(mill_exec_get_tape(w_.exec(), tape.out(), w_.error()));
    w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
    w_.ok(mill_tensor_write(w_.exec(), tensors_[k].get(), bytes.data(), bytes.size(), w_.error()));
    w_.ok(mill_exec_set_tape(w_.exec(), tape.get(), w_.error()));
  }
  std::vector<double> values(uint32_t k) const { return read_host(w_, tensors_[k].get()).f; }
  std::vector<unsigned char> bytes(uint32_t k) const { return read_bytes(w_, tensors_[k].get()); }

  // MILL_NOT_READY leaves `out` empty.
  mill_status gradient(uint32_t k, std::vector<double>& out) const {
    Tensor gradient;
    const mill_status status = mill_group_gradient(group_.get(), k, gradient.out(), w_.error());
    w_.ok(status);
    out.clear();
    if (gradient) out = read_host(w_, gradient.get()).f;
    return status;
  }
  std::vector<double> gradient(uint32_t k) const {
    std::vector<double> out;
    if (gradient(k, out) != MILL_OK)
      throw std::runtime_error("parameter " + std::to_string(k) + " has no fresh gradient");
    return out;
  }
  bool fresh(uint32_t k) const {
    std::vector<double> out;
    return gradient(k, out) == MILL_OK;
  }

 private:
  World& w_;
  mill_dtype dtype_;
  Group group_;
  std::vector<Tensor> tensors_;
};

}  // namespace mill_test
