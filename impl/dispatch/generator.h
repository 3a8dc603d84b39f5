// Random generator: seed and call counter as one i64[2] tensor in device memory, so that a captured
// step can replay.
#pragma once

#include <cstdint>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

struct mill_generator : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::generator;

  mill_generator(mill_exec& exec, uint64_t seed);

  mill::TensorRef state;
  std::atomic<bool> busy{false};

  // {seed, call} of the next call, and moves on.
  mill::TensorRef next(mill_exec& exec);
  void set(mill_exec& exec, uint64_t seed, uint64_t calls);
  void get(uint64_t* seed, uint64_t* calls) const;
};

namespace mill {

// From the exec's generator. Throws MILL_E_STATE when it has none.
TensorRef next_key(Exec& exec);

}  // namespace mill
