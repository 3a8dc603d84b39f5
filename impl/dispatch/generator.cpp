#include "dispatch/generator.h"

#include <cstring>

#include "dispatch/invoke.h"
#include "dispatch/transfer.h"
#include "millrace/op_numbers.h"

void retain(mill_generator* generator) noexcept {
  generator->retain();
}
void release(mill_generator* generator) noexcept {
  if (generator->release()) mill::slab_delete(generator);
}

mill_generator::mill_generator(mill_exec& exec, uint64_t seed) {
  const int64_t two = 2;
  state = mill::make_tensor(exec.device, MILL_I64, &two, 1, exec.stream_id(), exec.tag);
  set(exec, seed, 0);
}

void mill_generator::begin_use() {
  // Two execs drawing from one generator would make the sequence depend on timing.
  if (busy.exchange(true, std::memory_order_acquire)) {
    mill::fail(MILL_E_BUSY, "the generator is being used by another exec");
  }
}

mill::TensorRef mill_generator::next(mill_exec& exec) {
  begin_use();
  struct End {
    mill_generator& generator;
    ~End() { generator.end_use(); }
  } end{*this};
  return draw(exec);
}

mill::TensorRef mill_generator::draw(mill_exec& exec) {
  const mill::RecorderScope quiet(exec, nullptr);
  mill_tensor* in = state.get();
  mill_tensor* out[2] = {nullptr, in};
  mill::invoke(exec, MILL_OP_RNG_NEXT, &in, 1, nullptr, 0, out, 2);
  return mill::TensorRef::adopt(out[0]);
}

void mill_generator::set(mill_exec& exec, uint64_t seed, uint64_t calls) {
  const int64_t values[2] = {static_cast<int64_t>(seed), static_cast<int64_t>(calls)};
  mill::write_host(exec, *state, values, sizeof values);
}

void mill_generator::get(uint64_t* seed, uint64_t* calls) const {
  int64_t values[2];
  mill::read_host_blocking(*state, values, sizeof values);
  *seed = static_cast<uint64_t>(values[0]);
  *calls = static_cast<uint64_t>(values[1]);
}

namespace mill {

mill_tensor* KeyDraw::take() {
  if (!exec_.generator) fail(MILL_E_STATE, "the exec has no generator and no key was given");
  exec_.generator->begin_use();
  generator_ = exec_.generator;
  key_ = generator_->draw(exec_);
  return key_.get();
}

KeyDraw::~KeyDraw() {
  if (!generator_) return;
  if (key_ && !kept_) {
    // The key is what the state was. A copy into given memory needs none and cannot be refused.
    const RecorderScope quiet(exec_, nullptr);
    mill_tensor* in = key_.get();
    mill_tensor* out = generator_->state.get();
    try {
      invoke(exec_, MILL_OP_COPY, &in, 1, nullptr, 0, &out, 1);
    } catch (...) {  // NOLINT(bugprone-empty-catch)
    }
  }
  generator_->end_use();
}

}  // namespace mill
