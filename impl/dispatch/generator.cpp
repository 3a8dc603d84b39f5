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

mill::TensorRef mill_generator::next(mill_exec& exec) {
  // Two execs drawing from one generator would make the sequence depend on timing.
  if (busy.exchange(true, std::memory_order_acquire)) {
    mill::fail(MILL_E_BUSY, "the generator is being used by another exec");
  }
  struct Unlock {
    std::atomic<bool>& flag;
    ~Unlock() { flag.store(false, std::memory_order_release); }
  } unlock{busy};
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

TensorRef next_key(Exec& exec) {
  if (!exec.generator) fail(MILL_E_STATE, "the exec has no generator and no key was given");
  return exec.generator->next(exec);
}

}  // namespace mill
