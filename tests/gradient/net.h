// A small residual network in raw handles, which scopes release: what the tests of memory against
// time run with and without.
#pragma once

#include <vector>

#include "gradient/model.h"

namespace mill_test {

struct Net {
  static constexpr uint32_t kParams = 6;  // of a block

  Net(World& in, uint32_t depth, int64_t rows, int64_t width)
      : w(in), blocks(depth), params(in, MILL_F32, names(depth, width)) {
    w.ok(mill_generator_create(w.exec(), 7, generator.out(), w.error()));
    w.ok(mill_exec_set_generator(w.exec(), generator.get(), w.error()));
    std::vector<float> values;
    for (const double value : random_values(99, static_cast<size_t>(rows * width)))
      values.push_back(static_cast<float>(value));
    x = make<float>(w, {rows, width}, values);
  }
  ~Net() { mill_exec_set_generator(w.exec(), nullptr, nullptr); }
  Net(const Net&) = delete;
  Net& operator=(const Net&) = delete;

  // x + dropout(linear(gelu(linear(layer_norm(x)))))
  mill_status block(mill_exec* exec, uint32_t k, mill_tensor* in, mill_tensor** out,
                    mill_error* err) const {
    const auto p = [&](uint32_t j) { return params[k * kParams + j].get(); };
    mill_tensor *normal = nullptr, *mean = nullptr, *rstd = nullptr, *wide = nullptr;
    mill_tensor *active = nullptr, *narrow = nullptr, *dropped = nullptr;
    mill_status status = mill_layer_norm(exec, in, p(0), p(1), 1, 1e-5, &normal, &mean, &rstd, err);
    if (status == MILL_OK) status = mill_linear(exec, normal, p(2), p(3), &wide, err);
    if (status == MILL_OK) status = mill_gelu(exec, wide, 0, &active, err);
    if (status == MILL_OK) status = mill_linear(exec, active, p(4), p(5), &narrow, err);
    if (status == MILL_OK) status = mill_dropout(exec, narrow, nullptr, 0.25, &dropped, err);
    if (status == MILL_OK) status = mill_add(exec, in, dropped, out, err);
    return status;
  }

  static mill_status segment(void* user, mill_exec* exec, mill_tensor* const* inputs, uint32_t,
                             mill_tensor** outputs, uint32_t, mill_error* err) {
    const auto& one = *static_cast<const Block*>(user);
    return one.net->block(exec, one.k, inputs[0], &outputs[0], err);
  }
  struct Block {
    const Net* net;
    uint32_t k;
  };

  // The loss; call inside a scope.
  mill_tensor* forward(bool checkpointed) {
    mill_tensor* at = x.get();
    for (uint32_t k = 0; k < blocks; ++k) {
      mill_tensor* next = nullptr;
      w.ok(mill_scope_begin(w.exec(), w.error()));
      if (checkpointed) {
        w.ok(mill_tape_checkpoint(
            w.exec(), segment, new Block{this, k},
            [](void* user) { delete static_cast<Block*>(user); }, &at, 1, &next, 1, w.error()));
      } else {
        w.ok(block(w.exec(), k, at, &next, w.error()));
      }
      w.ok(mill_scope_keep(w.exec(), next, w.error()));
      w.ok(mill_scope_end(w.exec(), w.error()));
      if (at != x.get()) mill_tensor_release(at);
      at = next;
    }
    mill_tensor* square = nullptr;
    mill_tensor* loss = nullptr;
    w.ok(mill_mul(w.exec(), at, at, &square, w.error()));
    w.ok(mill_sum(w.exec(), square, nullptr, 0, 0, &loss, w.error()));
    mill_tensor_release(at);
    mill_tensor_release(square);
    return loss;
  }

  using Bits = std::vector<std::vector<unsigned char>>;
  Bits gradients() const {
    Bits out;
    for (uint32_t k = 0; k < params.count(); ++k) {
      Tensor gradient;
      w.ok(mill_group_gradient(params.get(), k, gradient.out(), w.error()));
      out.push_back(gradient ? read_bytes(w, gradient.get()) : std::vector<unsigned char>());
    }
    return out;
  }
  void clear() {
    w.ok(mill_group_clear_gradients(params.get(), w.error()));
    w.ok(mill_generator_set_state(w.exec(), generator.get(), 7, 0, w.error()));
  }

  static std::vector<NamedDims> names(uint32_t depth, int64_t width) {
    std::vector<NamedDims> out;
    for (uint32_t k = 0; k < depth; ++k) {
      const std::string at = "block" + std::to_string(k) + ".";
      for (const NamedDims& one : std::vector<NamedDims>{{"norm.weight", {width}},
                                                         {"norm.bias", {width}},
                                                         {"in.weight", {width, width}},
                                                         {"in.bias", {width}},
                                                         {"out.weight", {width, width}},
                                                         {"out.bias", {width}}}) {
        out.push_back({at + one.name, one.dims});
      }
    }
    return out;
  }

  World& w;
  uint32_t blocks;
  Parameters params;
  Generator generator;
  Tensor x;
};

inline uint64_t in_use_peak(World& w) {
  mill_memory_stats stats{};
  stats.size = sizeof stats;
  stats.type = MILL_STRUCT_MEMORY_STATS;
  w.ok(mill_memory_stats_query(w.context(), w.device(), &stats, w.error()));
  return stats.in_use_peak;
}

// Peak bytes of what runs, above what was in use before it.
template <class Run>
uint64_t peak_of(World& w, Run&& run) {
  mill_memory_stats stats{};
  stats.size = sizeof stats;
  stats.type = MILL_STRUCT_MEMORY_STATS;
  w.ok(mill_exec_wait(w.exec(), w.error()));
  w.ok(mill_memory_reset_peak(w.context(), w.device(), w.error()));
  w.ok(mill_memory_stats_query(w.context(), w.device(), &stats, w.error()));
  const uint64_t before = stats.in_use_bytes;
  run();
  return in_use_peak(w) - before;
}

}  // namespace mill_test
