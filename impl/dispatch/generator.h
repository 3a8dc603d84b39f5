// Random generator: seed and call counter as one i64[2] tensor in device memory, so that a captured
// step can replay.
#pragma once

#include <cstdint>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

struct mill_generator : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::generator;

  mill_generator(mill_exec& exec, uint64_t seed);
  explicit mill_generator(mill::TensorRef at) : state(std::move(at)) {}

  mill::TensorRef state;
  std::atomic<bool> busy{false};

  // {seed, call} of the next call, and moves on. Throws MILL_E_BUSY while another exec draws.
  mill::TensorRef next(mill_exec& exec);
  void begin_use();
  void end_use() noexcept { busy.store(false, std::memory_order_release); }
  // In use by the caller.
  mill::TensorRef draw(mill_exec& exec);
  void set(mill_exec& exec, uint64_t seed, uint64_t calls);
  void get(uint64_t* seed, uint64_t* calls) const;
};

namespace mill {

// The key that one call draws from the exec's generator. Until keep() the draw can be undone, so
// that a refused call leaves the generator as it was; the generator is in use as long as this
// lives.
class KeyDraw {
 public:
  explicit KeyDraw(Exec& exec) : exec_(exec) {}
  ~KeyDraw();
  KeyDraw(const KeyDraw&) = delete;
  KeyDraw& operator=(const KeyDraw&) = delete;

  // Throws MILL_E_STATE when the exec has no generator.
  mill_tensor* take();
  void keep() { kept_ = true; }

 private:
  Exec& exec_;
  Ref<mill_generator> generator_;
  TensorRef key_;
  bool kept_ = false;
};

}  // namespace mill
