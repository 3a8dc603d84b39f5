// The switch by the C library, for processors without one by hand: it saves the signal mask with a
// system call each time and is some thirty times slower.
#include <ucontext.h>

#include <cstring>
#include <new>

#include "base/sanitize.h"
#include "gpu/runtime/sim/fiber.h"

#if defined(MILL_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif

namespace mill::sim {

namespace {

struct Context {
  ucontext_t state;
  void (*entry)(void*);
  void* arg;
};

Context& context_of(Fiber& fiber) {
  if (!fiber.sp) fiber.sp = new Context{};
  return *static_cast<Context*>(fiber.sp);
}

// makecontext passes ints only.
void start(unsigned high, unsigned low) {
  const auto* context = reinterpret_cast<const Context*>((static_cast<uintptr_t>(high) << 32) |
                                                         static_cast<uintptr_t>(low));
  context->entry(context->arg);
}

}  // namespace

void fiber_reset(Fiber& fiber, void (*entry)(void*), void* arg) {
#if defined(MILL_ASAN)
  ASAN_UNPOISON_MEMORY_REGION(fiber.stack, fiber.bytes);
  fiber.sanitizer = nullptr;
#endif
  Context& context = context_of(fiber);
  context.entry = entry;
  context.arg = arg;
  getcontext(&context.state);
  context.state.uc_stack.ss_sp = const_cast<void*>(fiber.stack);
  context.state.uc_stack.ss_size = fiber.bytes;
  context.state.uc_link = nullptr;
  const auto at = reinterpret_cast<uintptr_t>(&context);
  makecontext(&context.state, reinterpret_cast<void (*)()>(&start), 2,
              static_cast<unsigned>(at >> 32), static_cast<unsigned>(at));
}

void fiber_switch(Fiber& from, Fiber& to) {
#if defined(MILL_ASAN)
  __sanitizer_start_switch_fiber(&from.sanitizer, to.stack, to.bytes);
#endif
  swapcontext(&context_of(from).state, &context_of(to).state);
#if defined(MILL_ASAN)
  __sanitizer_finish_switch_fiber(from.sanitizer, nullptr, nullptr);
#endif
}

void fiber_arrived([[maybe_unused]] Fiber& from) {
#if defined(MILL_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &from.stack, &from.bytes);
#endif
}

void fiber_release(Fiber& fiber) noexcept {
  delete static_cast<Context*>(fiber.sp);
  fiber.sp = nullptr;
}

}  // namespace mill::sim
