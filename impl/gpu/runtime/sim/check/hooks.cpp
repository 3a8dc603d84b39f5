// What the compiler calls at every load and store of the checked flavour. The names and signatures
// are those that -fsanitize=thread and -fsanitize=bounds of GCC emit (gcc/sanitizer.def, and the
// first fields of libubsan's OutOfBoundsData); nothing of those libraries is linked. Hidden, so
// that a program with its own sanitizer keeps its own.
//
// Called before the access; returns unless something is wrong with it.
#include "gpu/runtime/sim/check/shadow.h"

#define MILL_HOOK extern "C" [[gnu::visibility("hidden"), gnu::used]]

namespace {

using mill::sim::Shadow;
using mill::sim::watching;

template <bool kWrite, bool kAtomic = false>
[[gnu::always_inline]] inline void see(const volatile void* at, size_t bytes, void* code) {
  Shadow* const shadow = watching;
  if (shadow == nullptr) return;
  shadow->access<kWrite, kAtomic>(reinterpret_cast<uintptr_t>(at), bytes,
                                  reinterpret_cast<uintptr_t>(code));
}

}  // namespace

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-declarations"

// ---- loads and stores ---------------------------------------------------------------------------

#define MILL_ACCESS(n)                             \
  MILL_HOOK void __tsan_read##n(void* p) {         \
    see<false>(p, n, __builtin_return_address(0)); \
  }                                                \
  MILL_HOOK void __tsan_write##n(void* p) {        \
    see<true>(p, n, __builtin_return_address(0));  \
  }
#define MILL_UNALIGNED(n)                             \
  MILL_HOOK void __tsan_unaligned_read##n(void* p) {  \
    see<false>(p, n, __builtin_return_address(0));    \
  }                                                   \
  MILL_HOOK void __tsan_unaligned_write##n(void* p) { \
    see<true>(p, n, __builtin_return_address(0));     \
  }
MILL_ACCESS(1)
MILL_ACCESS(2)
MILL_ACCESS(4)
MILL_ACCESS(8)
MILL_ACCESS(16)
MILL_UNALIGNED(2)
MILL_UNALIGNED(4)
MILL_UNALIGNED(8)
MILL_UNALIGNED(16)
#undef MILL_ACCESS
#undef MILL_UNALIGNED

MILL_HOOK void __tsan_read_range(void* p, size_t bytes) {
  see<false>(p, bytes, __builtin_return_address(0));
}
MILL_HOOK void __tsan_write_range(void* p, size_t bytes) {
  see<true>(p, bytes, __builtin_return_address(0));
}
MILL_HOOK void __tsan_vptr_update(void** p, void*) {
  see<true>(p, sizeof *p, __builtin_return_address(0));
}
MILL_HOOK void __tsan_vptr_read(void** p) {
  see<false>(p, sizeof *p, __builtin_return_address(0));
}
MILL_HOOK void __tsan_init() {}
MILL_HOOK void __tsan_func_entry(void*) {}
MILL_HOOK void __tsan_func_exit() {}

// ---- atomics: the compiler leaves the operation to the callee -----------------------------------

#define MILL_FETCH(bits, T, name)                                           \
  MILL_HOOK T __tsan_atomic##bits##_fetch_##name(volatile T* p, T x, int) { \
    see<true, true>(p, sizeof(T), __builtin_return_address(0));             \
    return __atomic_fetch_##name(p, x, __ATOMIC_SEQ_CST);                   \
  }
#define MILL_EXCHANGE(bits, T, strength)                                                           \
  MILL_HOOK int __tsan_atomic##bits##_compare_exchange_##strength(volatile T* p, T* expected, T x, \
                                                                  int, int) {                      \
    see<true, true>(p, sizeof(T), __builtin_return_address(0));                                    \
    return __atomic_compare_exchange_n(p, expected, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }
#define MILL_ATOMICS(bits, T)                                           \
  MILL_HOOK T __tsan_atomic##bits##_load(const volatile T* p, int) {    \
    see<false, true>(p, sizeof(T), __builtin_return_address(0));        \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                        \
  }                                                                     \
  MILL_HOOK void __tsan_atomic##bits##_store(volatile T* p, T x, int) { \
    see<true, true>(p, sizeof(T), __builtin_return_address(0));         \
    __atomic_store_n(p, x, __ATOMIC_SEQ_CST);                           \
  }                                                                     \
  MILL_HOOK T __tsan_atomic##bits##_exchange(volatile T* p, T x, int) { \
    see<true, true>(p, sizeof(T), __builtin_return_address(0));         \
    return __atomic_exchange_n(p, x, __ATOMIC_SEQ_CST);                 \
  }                                                                     \
  MILL_FETCH(bits, T, add)                                              \
  MILL_FETCH(bits, T, sub)                                              \
  MILL_FETCH(bits, T, and)                                              \
  MILL_FETCH(bits, T, or)                                               \
  MILL_FETCH(bits, T, xor)                                              \
  MILL_FETCH(bits, T, nand)                                             \
  MILL_EXCHANGE(bits, T, strong)                                        \
  MILL_EXCHANGE(bits, T, weak)
MILL_ATOMICS(8, uint8_t)
MILL_ATOMICS(16, uint16_t)
MILL_ATOMICS(32, uint32_t)
MILL_ATOMICS(64, uint64_t)
#undef MILL_ATOMICS
#undef MILL_EXCHANGE
#undef MILL_FETCH
MILL_HOOK void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
MILL_HOOK void __tsan_atomic_signal_fence(int) {}

// ---- indices past an inner array ----------------------------------------------------------------

namespace {

struct TypeName {
  uint16_t kind;
  uint16_t info;
  char name[1];
};
struct OutOfBounds {
  const char* file;
  uint32_t line;
  uint32_t column;
  const TypeName* array;
  const TypeName* index;
};

void see_index(const void* data, uintptr_t index, void* code) {
  Shadow* const shadow = watching;
  if (shadow == nullptr) return;
  const auto* what = static_cast<const OutOfBounds*>(data);
  shadow->inner_index({what->file, static_cast<int>(what->line)}, what->array->name,
                      static_cast<int64_t>(index), reinterpret_cast<uintptr_t>(code));
}

}  // namespace

MILL_HOOK void __ubsan_handle_out_of_bounds(void* data, uintptr_t index) {
  see_index(data, index, __builtin_return_address(0));
}
MILL_HOOK void __ubsan_handle_out_of_bounds_abort(void* data, uintptr_t index) {
  see_index(data, index, __builtin_return_address(0));
}
#pragma GCC diagnostic pop

// ---- the vocabulary's atomics -------------------------------------------------------------------

namespace mill::sim {

void lane_atomic(const void* at, void* value, size_t bytes) {
  see<true, true>(at, bytes, __builtin_return_address(0));
  std::memcpy(value, at, bytes);
}

void lane_atomic_store(void* at, const void* value, size_t bytes) {
  std::memcpy(at, value, bytes);
}

}  // namespace mill::sim
