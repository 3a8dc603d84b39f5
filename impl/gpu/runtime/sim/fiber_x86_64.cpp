// The switch by hand: six registers and the stack pointer of the System V ABI for x86-64. The
// floating-point control words are the thread's and the same on all its fibers.
#include <cstring>

#include "base/sanitize.h"
#include "gpu/runtime/sim/fiber.h"

#if defined(MILL_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" void mill_sim_switch(void** save, void* to);
extern "C" void mill_sim_start();

asm(R"(
.text
.hidden mill_sim_switch
.globl mill_sim_switch
.type mill_sim_switch, @function
.align 16
mill_sim_switch:
  .cfi_startproc
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
.size mill_sim_switch, .-mill_sim_switch
.hidden mill_sim_start
.globl mill_sim_start
.type mill_sim_start, @function
.align 16
mill_sim_start:
  .cfi_startproc
  .cfi_undefined rip
  movq %r12, %rdi
  call *%r13
  ud2
  .cfi_endproc
.size mill_sim_start, .-mill_sim_start
.section .note.GNU-stack,"",@progbits
.text
)");

namespace mill::sim {

void fiber_reset(Fiber& fiber, void (*entry)(void*), void* arg) {
  auto* stack = static_cast<unsigned char*>(const_cast<void*>(fiber.stack));
#if defined(MILL_ASAN)
  // Frames of an abandoned run have left their red zones behind.
  ASAN_UNPOISON_MEMORY_REGION(stack, fiber.bytes);
  fiber.sanitizer = nullptr;
#endif
  auto top = reinterpret_cast<uintptr_t>(stack + fiber.bytes) & ~uintptr_t{15};
  // After the return into mill_sim_start the stack pointer must be a multiple of 16.
  auto* frame = reinterpret_cast<uintptr_t*>(top) - 7;
  std::memset(frame, 0, 7 * sizeof(uintptr_t));
  // As mill_sim_switch pops them: r15, r14, r13, r12, rbx, rbp, then the return address.
  frame[2] = reinterpret_cast<uintptr_t>(entry);
  frame[3] = reinterpret_cast<uintptr_t>(arg);
  frame[6] = reinterpret_cast<uintptr_t>(&mill_sim_start);
  fiber.sp = frame;
}

void fiber_switch(Fiber& from, Fiber& to) {
#if defined(MILL_ASAN)
  __sanitizer_start_switch_fiber(&from.sanitizer, to.stack, to.bytes);
  mill_sim_switch(&from.sp, to.sp);
  __sanitizer_finish_switch_fiber(from.sanitizer, nullptr, nullptr);
#else
  mill_sim_switch(&from.sp, to.sp);
#endif
}

void fiber_arrived([[maybe_unused]] Fiber& from) {
#if defined(MILL_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &from.stack, &from.bytes);
#endif
}

void fiber_release(Fiber&) noexcept {}

}  // namespace mill::sim
